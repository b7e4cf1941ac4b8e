"""Losses of the warping model (METHOD.md section 1, Losses)."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def local_ncc_loss(moved: torch.Tensor, fixed: torch.Tensor, window: int = 9) -> torch.Tensor:
    """1 - mean local normalised cross-correlation of (B, 1, h, w) images: insensitive to gain, phase and bias field."""
    mean = [F.avg_pool2d(image, window, 1, window // 2, count_include_pad=False) for image in (moved, fixed)]
    centred = [image - m for image, m in zip((moved, fixed), mean)]
    cross, *squares = (
        F.avg_pool2d(product, window, 1, window // 2, count_include_pad=False)
        for product in (centred[0] * centred[1], centred[0] ** 2, centred[1] ** 2)
    )
    return 1 - (cross / (squares[0] * squares[1] + 1e-5).sqrt()).mean()


def smoothness(velocity: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of neighbouring velocities (B, 2n, h, w), in pixels of the velocity's own grid."""
    pixels = velocity * velocity.shape[-1] / 2
    return sum((pixels.diff(dim=dim) ** 2).mean() for dim in (2, 3))


def dice_loss(soft: torch.Tensor, truth: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
    """1 - soft Dice of (B, 1, h, w) masks in 0..1, averaged over the batch with the weights (B,)."""
    overlap = 2 * (soft * truth).sum((1, 2, 3)) + 1
    loss = 1 - overlap / (soft.sum((1, 2, 3)) + truth.sum((1, 2, 3)) + 1)
    return loss.mean() if weight is None else (loss * weight).sum() / weight.sum().clamp(min=1e-6)
