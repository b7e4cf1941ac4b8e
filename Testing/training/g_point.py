"""The pipeline's own g_point (``MedPerSAMLib.core.prompts.points``) for a whole batch of masks at once, on their device.

A training step asks for hundreds of prompt sets; one at a time on the CPU they would take longer than the step. A test holds that
both give the same points for the same division into cells, which is drawn by chance in both.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from MedPerSAMLib.core.prompts.points import PointSettings
from MedPerSAMLib.core.prompts.prototypes import prototypes
from MedPerSAMLib.core.sam.predictor import upsample
from Testing.training.fields import Random

_ITERATIONS = 10  # of k-means, as scipy.cluster.vq.kmeans2 makes by itself
_CHUNK = 32  # masks whose distance maps are made at a time


def likeness(embeddings: torch.Tensor, other: torch.Tensor, other_mask: torch.Tensor, size: int) -> torch.Tensor:
    """How much each place looks like a structure rather than its surroundings, as ``propagate.ask.Questioner`` judges it.

    Args:
        embeddings: (B, C, e, e) of the images.
        other: (B, C, e, e) of slices on which the structure is known.
        other_mask: (B, 1, m, m) the structure there; where it is empty the likeness is 0.
        size: side of the result.

    Returns:
        (B, size, size), the cosine to the structure's direction less that to its surroundings'.
    """
    inside, around = prototypes(other.float(), other_mask.float())
    known = other_mask.flatten(1).any(1).float()[:, None]
    here = F.normalize(embeddings.float(), dim=1)
    return upsample(torch.einsum("bchw,bc->bhw", here, known * (inside - around))[:, None], size)[:, 0]


def g_points(
    random: Random,
    mask: torch.Tensor,
    score: torch.Tensor,
    scale: float,
    settings: PointSettings = PointSettings(),
    centres: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Points of B masks.

    Args:
        random: draws where the division into cells begins.
        mask: (B, m, m) bool.
        score: (B, m, m) as :func:`likeness`; rows of zeros where it is not known.
        scale: frame pixels per mask pixel.
        settings: how points are chosen.
        centres: (B, positives, 2) as (row, column), the cells' centres instead of those of k-means.

    Returns:
        points (B, N, 2) as (x, y) in frame pixels, and labels (B, N): 1 inside, 0 around, -1 where there is none; all -1 for an
        empty mask.
    """
    side = mask.shape[-1]
    score = score.double()
    known = score.flatten(1).any(1)[:, None]
    radius = (mask.sum((1, 2)) / torch.pi).sqrt().clamp(min=1).double()[:, None, None]
    depth = distance(~F.pad(mask, (1, 1, 1, 1)))[:, 1:-1, 1:-1]
    inside = depth > settings.inner * radius
    thick = inside.flatten(1).any(1)[:, None, None]
    inside = torch.where(thick, inside, mask & (depth >= 0.7 * depth.amax((1, 2), keepdim=True)))
    outside = distance(mask)
    ring = outside > settings.gap * radius + 1
    ring &= outside <= (settings.gap + settings.ring) * radius + 2
    if centres is None:
        centres = _centres(random, inside, settings.positives)
    axis = torch.arange(side, device=mask.device, dtype=torch.float64)
    rows, columns = torch.meshgrid(axis, axis, indexing="ij")
    cells = _nearest(centres, rows, columns)
    count = mask.sum((1, 2)).clamp(min=1)[:, None, None]
    offset = [where - (mask * where).sum((1, 2), keepdim=True) / count for where in (rows, columns)]
    turn = (torch.atan2(*offset) / (2 * torch.pi)) % 1.0
    sectors = (turn * settings.negatives).long().clamp(max=settings.negatives - 1)
    regions = [inside & (cells == cell) for cell in range(settings.positives)]
    regions += [ring & (sectors == sector) for sector in range(settings.negatives)]
    signs = [1] * settings.positives + [-1] * settings.negatives
    places = torch.stack([_best(region, score, settings.flat, sign) for region, sign in zip(regions, signs)], dim=1)
    there = torch.stack([region.flatten(1).any(1) for region in regions], dim=1)
    positive = torch.tensor(signs, device=mask.device) > 0
    agrees = ((score.flatten(1).gather(1, places) >= 0) == positive) | ~known
    kept = there & agrees
    first = there & positive & ((there & positive).cumsum(1) == 1)
    kept |= first & ~(kept & positive).any(1, keepdim=True)
    points = torch.stack([places % side, places // side], dim=-1) + 0.5
    return (points * scale).float(), torch.where(kept, positive.long(), -1)


def distance(targets: torch.Tensor) -> torch.Tensor:
    """(B, h, w) float64, exact distance in pixels to the nearest True pixel; large where there is none."""
    return torch.cat([_distance(part) for part in targets.split(_CHUNK)])


def _distance(targets: torch.Tensor) -> torch.Tensor:
    height, width = targets.shape[1:]
    far = 4 * (height + width)
    at = torch.arange(width, device=targets.device)
    before = at - torch.where(targets, at, -far).cummax(2).values
    behind = torch.where(targets, at, far).flip(2).cummin(2).values.flip(2) - at
    along = torch.minimum(before, behind).float()[:, None].square()
    at = torch.arange(height, device=targets.device, dtype=torch.float32)
    across = (at[:, None] - at).square()[None, :, :, None]
    return (along + across).amin(2).double().sqrt()


def _centres(random: Random, inside: torch.Tensor, count: int) -> torch.Tensor:
    """(B, count, 2) of k-means over the pixels of each mask, begun as k-means++ begins."""
    side = inside.shape[-1]
    axis = torch.arange(side, device=inside.device, dtype=torch.float64)
    rows, columns = torch.meshgrid(axis, axis, indexing="ij")
    weight = inside.double()
    odds, spread, centres = weight, None, []
    for _ in range(count):
        drawn = torch.multinomial(odds.flatten(1) + 1e-12, 1, generator=random.generator)[:, 0]
        row, column = drawn // side, drawn % side
        centres.append(torch.stack([row, column], dim=1).double())
        apart = (rows - row[:, None, None]) ** 2 + (columns - column[:, None, None]) ** 2
        spread = apart if spread is None else torch.minimum(spread, apart)
        odds = weight * spread
    found = torch.stack(centres, dim=1)
    for _ in range(_ITERATIONS):
        cells = _nearest(found, rows, columns)
        share = torch.stack([weight * (cells == cell) for cell in range(count)], dim=1)
        size = share.sum((2, 3))
        moved = torch.stack([(share * where).sum((2, 3)) for where in (rows, columns)], dim=2) / size.clamp(min=1)[..., None]
        found = torch.where(size[..., None] > 0, moved, found)
    return found


def _nearest(centres: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """(B, m, m) which of (B, K, 2) centres is nearest."""
    at = centres[..., None, None]
    return ((rows - at[:, :, 0]) ** 2 + (columns - at[:, :, 1]) ** 2).argmin(1)


def _best(region: torch.Tensor, score: torch.Tensor, flat: float, sign: int) -> torch.Tensor:
    """(B,) flat index of the place with the highest ``sign * score``; the one nearest the region's centre where the score is flat."""
    axis = torch.arange(region.shape[-1], device=region.device, dtype=torch.float64)
    rows, columns = torch.meshgrid(axis, axis, indexing="ij")
    size = region.sum((1, 2), keepdim=True).clamp(min=1)
    centre = [(region * where).sum((1, 2), keepdim=True) / size for where in (rows, columns)]
    central = -((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2)
    most = score.masked_fill(~region, -torch.inf).amax((1, 2))
    least = score.masked_fill(~region, torch.inf).amin((1, 2))
    decides = (most - least >= flat)[:, None, None]
    values = torch.where(decides, sign * score, central).masked_fill(~region, -torch.inf)
    return values.flatten(1).argmax(1)
