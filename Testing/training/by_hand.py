"""Masks as somebody draws them: not quite on the edge that the image shows, smoother than it, and alike on neighbouring slices."""

from __future__ import annotations

import torch

from MedPerSAMLib.core.warp.network import warp
from Testing.training.fields import Random, gaussian_blur

SHARE = 0.5  # of the structures that are drawn by hand; the others end where the image says
LEAST, MOST = 0.6, 1.6  # area of what is drawn over the structure's own: thin structures would vanish or fill
STRAYS = (0.002, 0.03)  # how far a line strays, in frame half-widths


def drawn_by_hand(
    random: Random, mask: torch.Tensor, neighbour: torch.Tensor, share: float = SHARE
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both slices' masks (B, 1, m, m) of a structure, some of them smoothed and moved in- or outwards in the same way.

    One annotator draws a border outside of a wall, another within it, and both do so on all slices; a network that has
    only seen masks that end at an edge would correct the carried mask to that edge, against the annotator's will. And no
    hand is steady: each slice's line strays a little by itself.
    """
    count, size = len(mask), mask.shape[-1]
    width = float(random.log_uniform(0.004, 0.04, 1)) * size
    level = random.uniform(0.25, 0.75, count, 1, 1, 1)
    level = level + random.uniform(0, 0.12, count, 1, 1, 1) * random.smooth((count, 1), size, 3)
    drawn = [(gaussian_blur(part, width) > level.clamp(0.1, 0.9)).float() for part in (mask, neighbour)]
    strays = random.log_uniform(*STRAYS, count, 1, 1, 1)
    drawn = [(warp(part, strays * random.smooth((count, 2), size, 5)) > 0.5).float() for part in drawn]
    wanted = random.chance(share, count)
    for part, new in zip((mask, neighbour), drawn):
        area, other = part.sum((1, 2, 3)), new.sum((1, 2, 3))
        wanted &= (area == 0) | ((other >= LEAST * area) & (other <= MOST * area))
    return tuple(torch.where(wanted.view(-1, 1, 1, 1), new, part) for part, new in zip((mask, neighbour), drawn))
