"""Losses of learned parts (METHOD.md sections 3 and 4)."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def segmentation_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy plus 1 - soft Dice of the whole batch, mean over the structures.

    Args:
        logits: (B, 1 + C, m, m), background first.
        labels: (B, m, m) int64.
    """
    entropy = F.cross_entropy(logits, labels)
    soft = logits.softmax(dim=1)[:, 1:]
    truth = F.one_hot(labels, logits.shape[1]).movedim(-1, 1)[:, 1:].float()
    both = 2 * (soft * truth).sum((0, 2, 3)) + 1
    dice = both / (soft.sum((0, 2, 3)) + truth.sum((0, 2, 3)) + 1)
    return entropy + 1 - dice.mean()


def binary_loss(logits: torch.Tensor, truth: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Cross-entropy plus 1 - soft Dice of (B, m, m) masks, averaged with the weights (B,)."""
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean((1, 2))
    soft = logits.sigmoid()
    dice = (2 * (soft * truth).sum((1, 2)) + 1) / (soft.sum((1, 2)) + truth.sum((1, 2)) + 1)
    return ((entropy + 1 - dice) * weight).sum() / weight.sum().clamp(min=1)
