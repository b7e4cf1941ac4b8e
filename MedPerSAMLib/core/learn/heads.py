"""AutoSAM's prompt-free convolutional and linear heads on the frozen encoder (METHOD.md section 4).

Widths follow the encoder's, so that the same heads serve the embedded model and the released ones. [I] What the encoder gives is
standardised by the statistics of the training frames: without that the first hundreds of steps go into its scale.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from MedPerSAMLib.core.learn.inputs import Inputs
from MedPerSAMLib.core.learn.layers import convolve

_WIDTH, _FINE = 64, 16
_REACH = (2, 4, 8)
"""Dilations of the context's convolutions, in cells of the embedding."""


class CnnHead(nn.Module):
    """The paper's stages of convolutions, back up to the masks' resolution, with two additions.

    [I] Context: dilated convolutions between the first stage and the others. [I] The frame itself, which the stages see again on
    their way up, as a U-Net's do: a small encoder's embedding holds less than a ViT's. On the first cine heart patient the
    paper's layers alone gave 0.49 on the others (true window, 200 steps), with context and inner features 0.66, with the frame 0.70.

    Args:
        width: channels of the encoder's features.
        classes: structures; the output has one map more, for the background.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        # Whole channels are left out at times, so that the head does not lean on what only this patient shows.
        self.reduce = nn.Sequential(nn.BatchNorm2d(width, affine=False), nn.Dropout2d(0.1), convolve(width, _WIDTH, 1))
        self.frame_fine = nn.Sequential(convolve(1, _FINE), convolve(_FINE, _FINE))
        self.frame_middle = nn.Sequential(convolve(_FINE, 2 * _FINE), convolve(2 * _FINE, 2 * _FINE))
        self.frame_coarse = nn.Sequential(convolve(2 * _FINE, _WIDTH), convolve(_WIDTH, _WIDTH))
        self.join = convolve(2 * _WIDTH, _WIDTH, 1)
        self.context = nn.ModuleList(convolve(_WIDTH, _WIDTH, dilation=reach) for reach in _REACH)
        self.coarse = convolve(_WIDTH, 2 * _FINE)
        self.middle = convolve(4 * _FINE, 2 * _FINE)
        self.fine = nn.Sequential(convolve(3 * _FINE, _FINE), nn.Conv2d(_FINE, classes + 1, 1))

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """(B, 1 + classes, 4e, 4e) logits, background first."""
        features = inputs.features
        side = features.shape[-1]
        fine = self.frame_fine(F.adaptive_avg_pool2d(inputs.frames, 4 * side) - 0.5)
        middle = self.frame_middle(F.max_pool2d(fine, 2))
        coarse = self.frame_coarse(F.max_pool2d(middle, 2))
        x = self.join(torch.cat([self.reduce(features), coarse], dim=1))
        for layer in self.context:
            x = x + layer(x)
        x = self.middle(torch.cat([_doubled(self.coarse(x)), middle], dim=1))
        return self.fine(torch.cat([_doubled(x), fine], dim=1))


class LinearHead(nn.Module):
    """Two transposed convolutions with normalisation, then a linear map; the public code's last ReLU is left out."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm2d(width, affine=False),
            nn.ConvTranspose2d(width, 2 * _FINE, 2, 2),
            nn.BatchNorm2d(2 * _FINE),
            nn.GELU(),
            nn.ConvTranspose2d(2 * _FINE, _FINE, 2, 2),
            nn.GELU(),
            nn.Conv2d(_FINE, classes + 1, 1),
        )

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """(B, 1 + classes, 4e, 4e) logits, background first."""
        return self.layers(inputs.features)


def _doubled(x: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
