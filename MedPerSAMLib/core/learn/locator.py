"""Where to look closer: a small map on whole slices that tells the structures' neighbourhood from the rest.

Zoom is the cheapest accuracy there is (METHOD.md section 6), and nobody gives a box here. One part for both looks was tried and
learned neither well from a few slices; so a small one finds the place, and the method itself only ever sees the closer window.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from MedPerSAMLib.core.learn.inputs import FRAME_SIZE, Inputs
from MedPerSAMLib.core.learn.layers import convolve, pooled


class Locator(nn.Module):
    """Some structure or none, on a grid of a quarter of the masks' resolution.

    [I] It looks at the frames, not at the encoder's features: trained on one heart's, it found no other heart in four of ten cases.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            convolve(1, 16, stride=2),
            convolve(16, 32, stride=2),
            convolve(32, 64, stride=2),
            *(convolve(64, 64, dilation=reach) for reach in (2, 4, 8)),
            nn.Conv2d(64, 1, 1),
        )

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """(B, 2, e, e) logits: nothing, and some structure."""
        logits = self.layers(pooled(inputs.frames, FRAME_SIZE))
        return torch.cat([torch.zeros_like(logits), logits], dim=1)

    def loss(self, inputs: Inputs, labels: torch.Tensor, _generator: torch.Generator) -> torch.Tensor:
        """Cross-entropy and soft Dice of the whole batch against (B, m, m) labels."""
        logits = self(inputs)[:, 1]
        truth = F.adaptive_avg_pool2d((labels > 0).float(), logits.shape[-1])
        soft = logits.sigmoid()
        dice = (2 * (soft * truth).sum() + 1) / (soft.sum() + truth.sum() + 1)
        return F.binary_cross_entropy_with_logits(logits, truth) + 1 - dice
