"""Where a target looks like the annotated structure: the cosine map of PerSAM and its extreme points."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def cosine_map(embeddings: torch.Tensor, prototype: torch.Tensor) -> torch.Tensor:
    """(B, e, e) cosine of each place of (B, C, e, e) embeddings with a (C,) prototype, in -1..1."""
    return torch.einsum("bchw,c->bhw", F.normalize(embeddings, dim=1), F.normalize(prototype, dim=0))


def extreme_points(similarity: torch.Tensor, on_image: torch.Tensor, frame_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The most and the least similar place of each map, away from padding.

    Args:
        similarity: (B, e, e).
        on_image: (m, m) bool, at the resolution where the places are sought (the public code uses four times e).
        frame_size: frame pixels along a side.

    Returns:
        (B, 2) (x, y) in frame pixels of the most similar place, and the same of the least similar.
    """
    size = on_image.shape[-1]
    fine = F.interpolate(similarity[:, None], (size, size), mode="bilinear", align_corners=False)[:, 0]
    most = fine.masked_fill(~on_image, -torch.inf).flatten(1).argmax(dim=1)
    least = fine.masked_fill(~on_image, torch.inf).flatten(1).argmin(dim=1)
    scale = frame_size / size
    return tuple((torch.stack([place % size, place // size], dim=1) + 0.5) * scale for place in (most, least))


def standardised(similarity: torch.Tensor, on_image: torch.Tensor) -> torch.Tensor:
    """(B, e, e) maps brought to mean 0 and deviation 1 over the (e, e) bool places that show the image."""
    values = similarity[:, on_image]
    mean, deviation = values.mean(dim=1), values.std(dim=1).clamp_min(1e-6)
    return (similarity - mean[:, None, None]) / deviation[:, None, None]
