"""Losses of learned parts (METHOD.md sections 3 and 4)."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def class_weights(labels: torch.Tensor, classes: int, power: float) -> torch.Tensor:
    """(1 + classes,) weights of the cross-entropy: frequency to the power of ``-power``, their mean over all pixels 1.

    Args:
        labels: (N, m, m) of all frames to learn from.
        classes: structures.
        power: 0 weighs every pixel alike, 1 every class.
    """
    share = torch.bincount(labels.flatten().long(), minlength=classes + 1).float().clamp(min=1)
    share = share / share.sum()
    weights = share**-power
    return weights / (weights * share).sum()


def segmentation_loss(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted cross-entropy plus 1 - soft Dice of the whole batch, mean over the structures.

    Args:
        logits: (B, 1 + C, m, m), background first.
        labels: (B, m, m) int64.
        weights: (1 + C,) of the classes.
    """
    logits = logits.float()
    truth = F.one_hot(labels, logits.shape[1]).movedim(-1, 1).float()
    counted = truth * weights.view(1, -1, 1, 1)
    # Written out, because PyTorch's own has no fixed order of sums on a GPU.
    entropy = -(counted * logits.log_softmax(dim=1)).sum() / counted.sum()
    soft, truth = logits.softmax(dim=1)[:, 1:], truth[:, 1:]
    both = 2 * (soft * truth).sum((0, 2, 3)) + 1
    dice = both / (soft.sum((0, 2, 3)) + truth.sum((0, 2, 3)) + 1)
    return entropy + 1 - dice.mean()


def binary_loss(logits: torch.Tensor, truth: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Cross-entropy plus 1 - soft Dice of (B, m, m) masks, averaged with the weights (B,)."""
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean((1, 2))
    soft = logits.sigmoid()
    dice = (2 * (soft * truth).sum((1, 2)) + 1) / (soft.sum((1, 2)) + truth.sum((1, 2)) + 1)
    return ((entropy + 1 - dice) * weight).sum() / weight.sum().clamp(min=1)


def rough_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy plus 1 - soft Dice of the whole batch, mean over the structures, each against all the rest.

    Args:
        logits: (B, C, e, e) of the structures.
        labels: (B, m, m) int64, finer than the logits.
    """
    truth = F.one_hot(labels, logits.shape[1] + 1).movedim(-1, 1)[:, 1:].float()
    truth = F.adaptive_avg_pool2d(truth, logits.shape[-1])
    logits = logits.float()
    soft = logits.sigmoid()
    dice = (2 * (soft * truth).sum((0, 2, 3)) + 1) / (soft.sum((0, 2, 3)) + truth.sum((0, 2, 3)) + 1)
    return F.binary_cross_entropy_with_logits(logits, truth) + 1 - dice.mean()
