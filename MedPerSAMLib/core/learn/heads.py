"""AutoSAM's prompt-free convolutional and linear heads on the frozen encoder (METHOD.md section 4).

Widths follow the embedding's, so that the same heads serve the embedded model (128 channels) and the released ones (256). [I] The
embedding is standardised by the statistics of the training frames: without that the first hundreds of steps go into its scale.
"""

from __future__ import annotations

import torch
from torch import nn

from MedPerSAMLib.core.learn.inputs import Inputs


class CnnHead(nn.Module):
    """Two 1x1 maps, two stages of [3x3, 3x3, transposed convolution], then 3x3 and 1x1.

    Args:
        width: channels of the embedding.
        classes: structures; the output has one map more, for the background.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        half, quarter, eighth = width // 2, width // 4, width // 8
        self.layers = nn.Sequential(
            nn.BatchNorm2d(width, affine=False),
            _convolve(width, width, 1),
            _convolve(width, width, 1),
            _convolve(width, half, 3),
            _convolve(half, half, 3),
            nn.ConvTranspose2d(half, half, 2, 2),
            _convolve(half, quarter, 3),
            _convolve(quarter, quarter, 3),
            nn.ConvTranspose2d(quarter, eighth, 2, 2),
            _convolve(eighth, eighth, 3),
            nn.Conv2d(eighth, classes + 1, 1),
        )

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """(B, 1 + classes, 4e, 4e) logits, background first."""
        return self.layers(inputs.embedding)


class LinearHead(nn.Module):
    """Two transposed convolutions with normalisation, then a linear map; the public code's last ReLU is left out."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        first, second = width // 4, width // 8
        self.layers = nn.Sequential(
            nn.BatchNorm2d(width, affine=False),
            nn.ConvTranspose2d(width, first, 2, 2),
            nn.BatchNorm2d(first),
            nn.GELU(),
            nn.ConvTranspose2d(first, second, 2, 2),
            nn.GELU(),
            nn.Conv2d(second, classes + 1, 1),
        )

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """(B, 1 + classes, 4e, 4e) logits, background first."""
        return self.layers(inputs.embedding)


def _convolve(channels_in: int, channels_out: int, size: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, size, padding=size // 2, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )
