"""The convolution of which the learned parts are made."""

from __future__ import annotations

from torch import nn


def convolve(channels_in: int, channels_out: int, size: int = 3, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU; the sides stay (at stride 1)."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, size, stride, dilation * (size // 2), dilation, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )
