"""AutoSAM's convolutional head with the paper's own layers, on the embedding alone (METHOD.md section 4)."""

from __future__ import annotations

import torch
from torch import nn

from MedPerSAMLib.core.learn.inputs import Inputs
from MedPerSAMLib.core.learn.layers import convolve


class PlainHead(nn.Module):
    """Two 1x1 maps, two stages of [3x3, 3x3, transposed convolution], then 3x3 and 1x1.

    It also learns from a single slice in seconds (``one_slice``); ``unet.UNet`` with features is the larger one for whole cases.

    Args:
        width: channels of the embedding.
        classes: structures; the output has one map more, for the background.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        half, quarter, eighth = width // 2, width // 4, width // 8
        self.layers = nn.Sequential(
            nn.BatchNorm2d(width, affine=False),
            convolve(width, width, 1),
            convolve(width, width, 1),
            convolve(width, half),
            convolve(half, half),
            nn.ConvTranspose2d(half, half, 2, 2),
            convolve(half, quarter),
            convolve(quarter, quarter),
            nn.ConvTranspose2d(quarter, eighth, 2, 2),
            convolve(eighth, eighth),
            nn.Conv2d(eighth, classes + 1, 1),
        )

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """(B, 1 + classes, 4e, 4e) logits, background first."""
        return self.layers(inputs.embedding)
