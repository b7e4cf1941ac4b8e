"""ProMISe's auto-prompting module: points, and a rough mask with them, made from the encoder's inner features.

No coordinate is given to learn from. Both forms of the paper (METHOD.md section 3): a convolutional trunk, and learned queries
that attend one level after the other.

[I] Our adaptation for a handful of volumes. The paper's last layer maps pooled features to coordinates; learned from three
patients, such points stood still whatever the image showed. Here each point has a heat map, and lies at its mean: it moves with the
image by construction. The heat maps of the positives against those of the negatives are at the same time a rough mask, which SAM
is given as its mask prompt. They start as spots, positives in the middle and negatives around, instead of all in one place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from MedPerSAMLib.core.learn.layers import convolve

POINTS = 16
"""Points per structure; the first half is positive, the second negative."""

_WIDTH = 64
"""Channels of the trunk."""
_REACHES = (1, 2, 4, 8)
"""Dilations of its convolutions."""
_LEFT_OUT = 0.1
"""Part of the features' channels that training leaves out, so that no point leans on what only these patients show."""
_SPOT = 0.1
"""Radius of a point's first spot, in sides of the frame."""
_MOST = 10.0
"""The rough mask's logits stay below this: SAM's mask prompts are about -10 outside."""
_HEADS = 8


def point_labels() -> torch.Tensor:
    """(POINTS,) int64: 1 for positives, 0 for negatives."""
    return torch.cat([torch.ones(POINTS // 2), torch.zeros(POINTS // 2)]).long()


def places_of(heat: torch.Tensor) -> torch.Tensor:
    """Mean places (..., 2), (x, y) in 0..1 of the frame, of heat maps (..., e, e) given as logits."""
    share = heat.flatten(-2).softmax(dim=-1).unflatten(-1, heat.shape[-2:])
    x, y = _centres(heat.shape[-1], heat), _centres(heat.shape[-2], heat)
    return torch.stack([(share.sum(dim=-2) * x).sum(dim=-1), (share.sum(dim=-1) * y).sum(dim=-1)], dim=-1)


def rough_mask(heat: torch.Tensor) -> torch.Tensor:
    """(..., e, e) bounded log-odds that a place is a positive's rather than a negative's, from heat maps (..., POINTS, e, e)."""
    positive, negative = heat.split(POINTS // 2, dim=-3)
    odds = positive.logsumexp(dim=-3) - negative.logsumexp(dim=-3)
    return _MOST * (odds / _MOST).tanh()


class PointTrunk(nn.Module):
    """A 1x1 convolution of all levels and the places, then residual convolutions of growing reach, then the heat maps.

    Args:
        levels: channels of the three levels.
        width: channels of the embedding.
        classes: structures.
    """

    def __init__(self, levels: Sequence[int], width: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.standard = nn.Sequential(nn.BatchNorm2d(sum(levels), affine=False), nn.Dropout2d(_LEFT_OUT))
        self.reduce = convolve(sum(levels) + 2, _WIDTH, 1)
        self.trunk = nn.ModuleList(convolve(_WIDTH, _WIDTH, dilation=reach) for reach in _REACHES)
        self.out = nn.Conv2d(_WIDTH, classes * POINTS, 1)
        _start_still(self.out)

    def forward(self, levels: torch.Tensor) -> torch.Tensor:
        """(B, L, e, e) inner features -> (B, classes, POINTS, e, e) heat maps, as logits."""
        y, x = (2 * _centres(side, levels) - 1 for side in levels.shape[-2:])
        places = torch.stack(torch.meshgrid(x, y, indexing="xy")).expand(len(levels), -1, -1, -1)
        seen = self.reduce(torch.cat([self.standard(levels), places], dim=1))
        for layer in self.trunk:
            seen = seen + layer(seen)
        return self.out(seen).unflatten(1, (self.classes, POINTS)) + first_heat(levels)


class PointQueries(nn.Module):
    """Learned queries, three decoder layers that attend one level each, and where the queries match the features in the end.

    Arguments as for PointTrunk.
    """

    def __init__(self, levels: Sequence[int], width: int, classes: int) -> None:
        super().__init__()
        self.classes, self.levels = classes, list(levels)
        self.queries = nn.Parameter(0.5 * torch.randn(1, classes * POINTS, width))
        self.standard = nn.Sequential(nn.BatchNorm2d(sum(levels), affine=False), nn.Dropout2d(_LEFT_OUT))
        self.project = nn.ModuleList(nn.Conv2d(level, width, 1) for level in levels)
        self.layers = nn.ModuleList(
            nn.TransformerDecoderLayer(width, _HEADS, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
            for _ in levels
        )
        self.match = nn.Sequential(convolve(sum(levels), width, 1), convolve(width, width), nn.Conv2d(width, width, 1))
        self.out = nn.Linear(width, width)
        _start_still(self.out)

    def forward(self, levels: torch.Tensor) -> torch.Tensor:
        """As PointTrunk."""
        levels = self.standard(levels)
        x = self.queries.expand(len(levels), -1, -1)
        parts = levels.split(self.levels, dim=1)
        for part, project, layer in zip(parts, self.project, self.layers):
            # Every second place is enough for what to look for, and four times faster.
            seen = F.avg_pool2d(project(part), 2)
            x = layer(x, seen.flatten(2).transpose(1, 2) + _places(seen))
        heat = torch.einsum("bqc,bchw->bqhw", self.out(x), self.match(levels))
        return heat.unflatten(1, (self.classes, POINTS)) + first_heat(levels)


class PointForms(nn.Module):
    """Both forms side by side, their heat maps added.

    [I] Of the two, the trunk was the better one on the hearts of acdc and the queries on chaos_t2 (three training volumes
    each, single runs).

    Arguments as for PointTrunk.
    """

    def __init__(self, levels: Sequence[int], width: int, classes: int) -> None:
        super().__init__()
        self.trunk, self.queries = PointTrunk(levels, width, classes), PointQueries(levels, width, classes)

    def forward(self, levels: torch.Tensor) -> torch.Tensor:
        """As PointTrunk."""
        return self.trunk(levels) + self.queries(levels) - first_heat(levels)


def first_heat(image: torch.Tensor) -> torch.Tensor:
    """(POINTS, e, e) first heat maps on the grid of (B, C, e, e): positives on a small circle, negatives on a large one."""
    half = POINTS // 2
    angle = torch.arange(half, device=image.device) * (2 * math.pi / half)
    circle = torch.stack([angle.cos(), angle.sin()], dim=-1)
    middle = torch.cat([0.5 + 0.08 * circle, 0.5 + 0.35 * circle])
    x = _centres(image.shape[-1], image)[None, None, :] - middle[:, 0, None, None]
    y = _centres(image.shape[-2], image)[None, :, None] - middle[:, 1, None, None]
    return -(x**2 + y**2) / (2 * _SPOT**2)


def _start_still(out: nn.Module) -> None:
    nn.init.normal_(out.weight, std=1e-2)
    nn.init.zeros_(out.bias)


def _centres(side: int, like: torch.Tensor) -> torch.Tensor:
    return (torch.arange(side, device=like.device) + 0.5) / side


def _places(image: torch.Tensor) -> torch.Tensor:
    """(1, h * w, C) sine and cosine code of each place of an image (B, C, h, w)."""
    channels, rows, columns = image.shape[1:]
    count = channels // 4
    frequency = torch.exp(torch.arange(count, device=image.device) * (math.log(64.0) / count)) * math.pi
    parts = []
    for axis, length in ((0, rows), (1, columns)):
        centre = (torch.arange(length, device=image.device) + 0.5) / length
        wave = centre[:, None] * frequency
        wave = torch.cat([wave.sin(), wave.cos()], dim=-1)
        parts.append(wave[:, None].expand(-1, columns, -1) if axis == 0 else wave[None].expand(rows, -1, -1))
    return torch.cat(parts, dim=-1).flatten(0, 1)[None]
