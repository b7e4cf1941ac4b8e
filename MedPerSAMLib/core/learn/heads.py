"""AutoSAM's prompt-free linear head on the frozen encoder (METHOD.md section 4).

Widths follow the encoder's, so that the same head serves the embedded model and the released ones. [I] It looks at the inner
features beside the embedding where they are small (``inputs``), and what the encoder gives is standardised by the statistics of the
training frames: without that the first hundreds of steps go into its scale. Batch normalisation stands for the paper's LayerNorm2d.
"""

from __future__ import annotations

import torch
from torch import nn

from MedPerSAMLib.core.learn.inputs import Inputs

_FINE = 16


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
