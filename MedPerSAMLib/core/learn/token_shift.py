"""The one-slice form of ProMISe's IPS: the shift of the decoder's mask tokens is itself what is learned (METHOD.md section 3)."""

from __future__ import annotations

import torch
from torch import nn

from MedPerSAMLib.core.learn.inputs import Inputs
from MedPerSAMLib.core.learn.promise import decode_shifted
from MedPerSAMLib.core.sam.predictor import Prompts

_OUTPUT = 1
"""The first of the three multimask outputs, as in ProMISe."""


class TokenShift(nn.Module):
    """A learned shift of a frozen SAM's mask tokens; no prompts are given.

    Args:
        sam: the frozen SAM; neither changed nor part of the weights.
    """

    def __init__(self, sam: nn.Module) -> None:
        super().__init__()
        object.__setattr__(self, "_sam", sam)  # not a submodule: its weights are not ours to save or move
        self.shift = nn.Parameter(torch.zeros_like(sam.mask_decoder.mask_tokens.weight))

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """(B, 2, m, m) logits; the background's are 0."""
        shift = self.shift.expand(len(inputs), -1, -1)
        logits = decode_shifted(self._sam, inputs.embedding, Prompts(), shift)[:, _OUTPUT]
        return torch.stack([torch.zeros_like(logits), logits], dim=1)
