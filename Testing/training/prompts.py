"""Prompts for training, made in batches the way the pipeline makes them: boxes, points and carried masks with errors.

Masks are (B, 1, m, m) at mask-prompt resolution; points and boxes are in frame pixels, ``SCALE`` times finer.

Half of the boxes of carried masks and of the point sets are what the pipeline's own g_box and g_point
(``MedPerSAMLib.core.prompts``) give, made for a whole batch on the device, because those take one mask at a time on the CPU;
tests hold that both agree. The other half varies what the pipeline fixes: boxes with errors, points of the same kinds
(positives inside and negatives one to a sector of the ring around), but at places drawn by chance. In either half some points
are missing, and points may lie wrong, because the carried mask does.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from MedPerSAMLib.core.sam.predictor import Prompts
from MedPerSAMLib.core.warp.network import warp
from Testing.training.fields import Random, gaussian_blur
from Testing.training.g_point import g_points

SCALE = 2  # frame pixels per mask-prompt pixel
MOST = 8  # most points of one prompt set
KINDS = {  # share of each prompt kind in training
    "box": 0.24,
    "point": 0.06,
    "points": 0.06,
    "box+points": 0.14,
    "carried+box": 0.28,
    "carried+box+points": 0.22,
}


@dataclass(frozen=True)
class BoxErrors:
    """How the boxes of carried masks vary.

    Attributes:
        least: smallest part of the box's longer side added on each side.
        most: largest such part.
        shift: frame pixels that each side is moved by at most besides.
    """

    least: float = 0.04
    most: float = 0.1
    shift: float = 1.5


USUAL = BoxErrors()
EXACT = BoxErrors(0.07, 0.07, 0.0)
"""The boxes of ``MedPerSAMLib.core.prompts.box``, which errors are spread around."""


def draw_prompts(
    random: Random, kind: str, truth: torch.Tensor, carried: torch.Tensor, score: torch.Tensor | None = None
) -> Prompts:
    """One prompt set of a kind for each of B masks; prompts of the carried kinds see only the carried mask.

    With ``score`` (B, m, m), as ``g_point.likeness`` gives it, half of the sets have the pipeline's own points and boxes.
    """
    follows = kind.startswith("carried")
    source = carried if follows else truth
    own = score is not None and random.happens(0.5)
    points, labels = (None, None) if "point" not in kind else draw_points(random, source, kind == "point")
    if own and points is not None and kind != "point":
        points, labels = _own_points(random, source, score, (points, labels))
    boxes = draw_boxes(random, source, grown=follows, errors=EXACT if own else USUAL) if "box" in kind else None
    logits = mask_logits(random, carried) if follows else None
    return Prompts(points, labels, boxes, logits)


def mask_logits(random: Random, mask: torch.Tensor) -> torch.Tensor:
    """k(2m - 1) of the slightly blurred mask, k in 1..12: the pipeline chooses among 1 to 10."""
    k = random.log_uniform(1.0, 12.0, len(mask), 1, 1, 1)
    return k * (2 * gaussian_blur(mask.float(), random.scalar(0.3, 1.2)) - 1)


def draw_boxes(random: Random, mask: torch.Tensor, grown: bool, errors: BoxErrors = USUAL) -> torch.Tensor:
    """Tight boxes (B, 4): grown on each side by 4-10 % (at least 2 px) or with each side moved by up to 4 frame pixels.

    ``errors`` are those of grown boxes.
    """
    inside = mask[:, 0] > 0.5
    low_y, high_y = _extent(inside.any(2))
    low_x, high_x = _extent(inside.any(1))
    boxes = torch.stack([low_x, low_y, high_x, high_y], dim=1) * SCALE
    size = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    outwards = torch.tensor([-1.0, -1.0, 1.0, 1.0], device=mask.device)
    if grown:
        margin = random.uniform(errors.least, errors.most, len(mask), 1) * size.amax(1, keepdim=True)
        boxes = boxes + outwards * margin.clamp(min=2) + random.uniform(-errors.shift, errors.shift, len(mask), 4)
    else:
        share = random.uniform(0, 0.04, len(mask), 1) * random.chance(0.5, len(mask), 1)
        boxes = boxes + outwards * share * size + random.uniform(-4, 4, len(mask), 4) * (size / 40).clamp(max=1)
    return boxes.clamp(0, mask.shape[-1] * SCALE)


def _extent(used: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """First and one past the last true column of (B, m); the whole range where none is."""
    size = used.shape[1]
    first = used.float().argmax(1)
    last = size - used.flip(1).float().argmax(1)
    return first.float(), last.float()


def draw_points(random: Random, mask: torch.Tensor, single: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Points (B, N, 2) and labels (B, N): 1 inside, 0 in the ring around, -1 padding.

    Positives are deep inside or anywhere inside; negatives lie in different sectors of the ring.
    """
    # At half resolution, which is fine enough for points and four times faster.
    half = F.max_pool2d(mask, 2)
    count, size = len(mask), half.shape[-1]
    inside = (half[:, 0] > 0.5).float()
    radius = (inside.sum((1, 2)) / 3.1416).sqrt().clamp(min=1)
    deep = _depth(inside)
    sharpness = torch.where(random.chance(0.5, count), 0.0, 6.0).view(-1, 1, 1)
    weight = inside * (deep / deep.amax((1, 2), keepdim=True).clamp(min=1e-3)) ** sharpness + 1e-9
    if single:
        points = _pick(random, weight, 1)
        return _to_frame(random, points), torch.ones(count, 1, dtype=torch.long, device=mask.device)
    positives = _pick(random, weight, 3)
    ring = _ring(inside, radius)
    axis = torch.arange(size, device=mask.device) + 0.5
    centre_y = (inside.sum(2) * axis).sum(1) / inside.sum((1, 2)).clamp(min=1)
    centre_x = (inside.sum(1) * axis).sum(1) / inside.sum((1, 2)).clamp(min=1)
    angle = torch.atan2(axis.view(1, -1, 1) - centre_y.view(-1, 1, 1), axis.view(1, 1, -1) - centre_x.view(-1, 1, 1))
    sectors = MOST - 3
    turned = (angle / 6.2832 + random.uniform(0, 1, count, 1, 1)).remainder(1.0) * sectors
    negatives = [_pick(random, ring * (turned.floor() == sector) + 1e-9 * ring + 1e-12, 1) for sector in range(sectors)]
    points = torch.cat([positives, *negatives], dim=1)
    labels = torch.ones(count, MOST, dtype=torch.long, device=mask.device)
    labels[:, 3:] = 0
    keep = torch.rand(count, MOST, generator=random.generator, device=mask.device) < random.uniform(0.15, 1, count, 1)
    keep[:, 0] = True
    few = random.chance(0.3, count)
    keep[:, 3:] &= ~few[:, None]
    return _to_frame(random, points), labels.masked_fill(~keep, -1)


def _own_points(
    random: Random, mask: torch.Tensor, score: torch.Tensor, drawn: tuple[torch.Tensor, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """g_point's (B, MOST, 2) points and (B, MOST) labels, some of them missing; the drawn ones where an empty mask has none."""
    points, labels = g_points(random, mask[:, 0] > 0.5, score, SCALE)
    kept = torch.rand(labels.shape, generator=random.generator, device=labels.device) < random.uniform(0.5, 2, len(mask), 1)
    kept[:, 0] = True
    labels = labels.masked_fill(~kept, -1)
    missing = MOST - labels.shape[1]
    points, labels = F.pad(points, (0, 0, 0, missing)), F.pad(labels, (0, missing), value=-1)
    some = (labels >= 0).any(1, keepdim=True)
    return torch.where(some[..., None], points, drawn[0]), torch.where(some, labels, drawn[1])


def _depth(inside: torch.Tensor) -> torch.Tensor:
    """How deep inside a pixel lies, from blurs of three widths; (B, m, m)."""
    total = inside
    blurred = inside[:, None]
    for _ in range(3):
        blurred = F.avg_pool2d(blurred, 5, 1, 2)
        total = total + blurred[:, 0]
    return total * inside


def _ring(inside: torch.Tensor, radius: torch.Tensor) -> torch.Tensor:
    """Pixels outside, between about a quarter and 0.6 of the mask's radius away from it; (B, m, m)."""
    blurred = inside[:, None]
    ring = torch.zeros_like(inside)
    near = inside > 0
    for reach in range(1, 11):  # dilations of one pixel
        blurred = F.max_pool2d(blurred, 3, 1, 1)
        wanted = (reach >= 0.25 * radius) & (reach <= torch.maximum(0.6 * radius, 0.25 * radius + 2))
        now = blurred[:, 0] > 0
        ring = torch.where(wanted.view(-1, 1, 1), torch.maximum(ring, (now & ~near).float()), ring)
        near = near | now
    return ring


def _pick(random: Random, weight: torch.Tensor, count: int) -> torch.Tensor:
    """Draw pixels by weight: (B, m, m) -> (B, count, 2) as (x, y)."""
    index = torch.multinomial(weight.flatten(1), count, replacement=True, generator=random.generator)
    return torch.stack([index % weight.shape[2], index // weight.shape[2]], dim=-1)


def _to_frame(random: Random, points: torch.Tensor) -> torch.Tensor:
    shift = torch.rand(points.shape, generator=random.generator, device=points.device)
    return (points + shift) * (2 * SCALE)


def spoil(random: Random, truth: torch.Tensor, neighbour: torch.Tensor, warped: torch.Tensor) -> torch.Tensor:
    """Carried masks (B, 1, m, m) with realistic errors.

    Six in ten are the neighbour's mask as the warping network carries it; the others are plain copies, elastic distortions
    of the truth, masks that grew or shrank, and masks with a part missing or leaked.
    """
    count, size = len(truth), truth.shape[-1]
    draw = random.uniform(0, 1, count, 1, 1, 1)
    bend = random.smooth((count, 2), size, 4) + 0.5 * random.smooth((count, 2), size, 10)
    elastic = warp(truth, bend * random.log_uniform(0.004, 0.07, count, 1, 1, 1))
    grown = gaussian_blur(torch.where(random.chance(0.5, count, 1, 1, 1), truth, warped), random.scalar(1.0, 3.5))
    grown = torch.sigmoid(12 * (grown - random.uniform(0.15, 0.85, count, 1, 1, 1)))
    blobs = torch.sigmoid(8 * (random.smooth((count, 1), size, 6) - random.uniform(0.7, 1.8, count, 1, 1, 1)))
    near = F.max_pool2d(F.max_pool2d(warped, (13, 1), 1, (6, 0)), (1, 13), 1, (0, 6))
    parts = torch.where(random.chance(0.5, count, 1, 1, 1), warped * (1 - blobs), torch.maximum(warped, near * blobs))
    result = torch.where(draw < 0.62, warped, neighbour)
    for edge, kind in ((0.7, elastic), (0.85, grown), (0.93, parts)):
        result = torch.where(draw > edge, kind, result)
    # Distortions of an empty truth would be empty: there only what came from the neighbour is of use.
    return torch.where(truth.amax((1, 2, 3), keepdim=True) > 0, result, warped).clamp(0, 1)
