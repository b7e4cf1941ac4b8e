"""What a structure's embedding looks like, inside and around it: by this g_point scores places (METHOD.md section 1, g_point)."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def prototypes(embeddings: torch.Tensor, soft: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean directions of embeddings inside masks and in the ring around them.

    Args:
        embeddings: (B, C, e, e).
        soft: (B, 1, f, f) masks in 0..1; one of an empty mask has the direction 0.

    Returns:
        (B, C) inside and (B, C) around, each of length 1.
    """
    size = embeddings.shape[-1]
    embeddings = F.normalize(embeddings, dim=1)
    inside = F.interpolate(soft, (size, size), mode="area")
    around = ((F.max_pool2d(inside, 5, 1, 2) > 0) & (inside <= 0)).float()
    # So thin that no share of it is left in any place: then the places that it touches.
    thin = inside.sum(dim=(1, 2, 3), keepdim=True) <= 0
    inside = torch.where(thin, F.adaptive_max_pool2d(soft, size), inside)
    return tuple(F.normalize((embeddings * weight).sum(dim=(2, 3)), dim=1) for weight in (inside, around))
