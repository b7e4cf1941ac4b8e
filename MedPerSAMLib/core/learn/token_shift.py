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
    """A learned shift of a frozen SAM's mask tokens.

    Args:
        sam: the frozen SAM; neither changed nor part of the weights.
        box_share: side of a square box prompt in the middle of the frame, where a window shows its structure, in sides of
            the frame; None gives no prompt at all.
    """

    def __init__(self, sam: nn.Module, box_share: float | None = None) -> None:
        super().__init__()
        self._box = None
        if box_share is not None:
            low, high = ((1 + sign * box_share) / 2 * sam.prompt_encoder.input_image_size[0] for sign in (-1, 1))
            self._box = torch.tensor([low, low, high, high])
        object.__setattr__(self, "_sam", sam)  # not a submodule: its weights are not ours to save or move
        self.shift = nn.Parameter(torch.zeros_like(sam.mask_decoder.mask_tokens.weight))

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """(B, 2, m, m) logits; the background's are 0."""
        shift = self.shift.expand(len(inputs), -1, -1)
        logits = decode_shifted(self._sam, inputs.embedding, self._prompts(len(inputs)), shift)[:, _OUTPUT]
        return torch.stack([torch.zeros_like(logits), logits], dim=1)

    def _prompts(self, count: int) -> Prompts:
        return Prompts() if self._box is None else Prompts(boxes=self._box.expand(count, -1))
