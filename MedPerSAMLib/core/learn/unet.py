"""A U-Net trained from scratch: what the papers of AutoSAM and ProMISe compare with."""

from __future__ import annotations

import itertools

import torch
from torch import nn
from torch.nn import functional as F

from MedPerSAMLib.core.learn.inputs import MASK_SIZE, Inputs
from MedPerSAMLib.core.learn.layers import convolve

WIDTHS = (16, 32, 64, 128)


class UNet(nn.Module):
    """Ronneberger's U-Net with batch normalisation, at the resolution of the masks that the other methods give.

    Args:
        classes: structures.
        widths: channels of its levels, each at half the resolution of the one before.
    """

    def __init__(self, classes: int, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.down = nn.ModuleList(_block(a, b) for a, b in itertools.pairwise((1, *widths)))
        self.up = nn.ModuleList(_block(b + a, a) for a, b in itertools.pairwise(widths))
        self.out = nn.Conv2d(widths[0], classes + 1, 1)

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """(B, 1 + classes, m, m) logits, background first."""
        x, kept = F.adaptive_avg_pool2d(inputs.frames, MASK_SIZE) - 0.5, []
        for number, block in enumerate(self.down):
            x = block(x if number == 0 else F.max_pool2d(x, 2))
            kept.append(x)
        for block, skip in zip(reversed(self.up), reversed(kept[:-1])):
            x = block(torch.cat([F.interpolate(x, scale_factor=2.0, mode="nearest"), skip], dim=1))
        return self.out(x)


def _block(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(convolve(channels_in, channels_out), convolve(channels_out, channels_out))
