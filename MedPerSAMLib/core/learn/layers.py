"""What the learned parts are made of."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


def convolve(channels_in: int, channels_out: int, size: int = 3, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU; the sides stay (at stride 1)."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, size, stride, dilation * (size // 2), dilation, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


def pooled(frames: torch.Tensor, side: int) -> torch.Tensor:
    """(B, 1, s, s) frames in 0..1 -> (B, 1, side, side) around 0, channels last.

    In that layout a CPU convolves faster, and all that is computed from it keeps it. One channel looks the same either way: only
    the strides tell.
    """
    return (F.adaptive_avg_pool2d(frames, side) - 0.5)[:, 0, :, :, None].movedim(-1, 1)
