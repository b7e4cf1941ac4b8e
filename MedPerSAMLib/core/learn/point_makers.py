"""ProMISe's auto-prompting module: points made from the encoder's inner features, without any coordinate to learn from.

Both forms of the paper (METHOD.md section 3): a convolutional trunk, and learned queries that attend one level after the other.
[I] The trunk is smaller than ResNet-34, because it is trained on one to five volumes, and keeps a 4 x 4 map of places before its
last layer; points start spread out, positives in the middle and negatives around, instead of all in one place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

POINTS = 16
"""Points per structure; the first half is positive, the second negative."""

_PLACES = 4
_HEADS = 8


def point_labels() -> torch.Tensor:
    """(POINTS,) int64: 1 for positives, 0 for negatives."""
    return torch.cat([torch.ones(POINTS // 2), torch.zeros(POINTS // 2)]).long()


class PointTrunk(nn.Module):
    """Three 3x3 convolutions to the embedding's width, a residual trunk, a linear map.

    Args:
        levels: channels of the three levels.
        width: channels of the embedding.
        classes: structures.
    """

    def __init__(self, levels: Sequence[int], width: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.reduce = nn.Sequential(_convolve(sum(levels), width, 2), _convolve(width, width), _convolve(width, width))
        self.trunk = nn.Sequential(_Residual(width), _Residual(width), _convolve(width, width, 2), _Residual(width))
        self.out = nn.Linear(width * _PLACES**2, classes * POINTS * 2)
        _start_spread(self.out, classes)

    def forward(self, levels: torch.Tensor) -> torch.Tensor:
        """(B, L, e, e) inner features -> (B, classes, POINTS, 2), (x, y) in 0..1 of the frame."""
        places = F.adaptive_avg_pool2d(self.trunk(self.reduce(levels)), _PLACES).flatten(1)
        return self.out(places).sigmoid().unflatten(1, (self.classes, POINTS, 2))


class PointQueries(nn.Module):
    """Learned queries, three decoder layers that attend one level each; arguments as for PointTrunk."""

    def __init__(self, levels: Sequence[int], width: int, classes: int) -> None:
        super().__init__()
        self.classes, self.levels = classes, list(levels)
        self.queries = nn.Parameter(0.5 * torch.randn(1, classes * POINTS, width))
        self.project = nn.ModuleList(nn.Conv2d(level, width, 1) for level in levels)
        self.layers = nn.ModuleList(
            nn.TransformerDecoderLayer(width, _HEADS, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
            for _ in levels
        )
        self.out = nn.Linear(width, 2)
        nn.init.normal_(self.out.weight, std=1e-3)
        nn.init.zeros_(self.out.bias)
        self.start = nn.Parameter(spread_start(classes).view(1, classes * POINTS, 2))

    def forward(self, levels: torch.Tensor) -> torch.Tensor:
        """As PointTrunk."""
        x = self.queries.expand(len(levels), -1, -1)
        parts = levels.split(self.levels, dim=1)
        for part, project, layer in zip(parts, self.project, self.layers):
            # Every second place is enough for points, and four times faster.
            seen = F.avg_pool2d(project(part), 2)
            x = layer(x, seen.flatten(2).transpose(1, 2) + _places(seen))
        return (self.out(x) + self.start).sigmoid().unflatten(1, (self.classes, POINTS))


def spread_start(classes: int) -> torch.Tensor:
    """(classes, POINTS, 2) logits of the first points: positives on a small circle, negatives on a large one."""
    half = POINTS // 2
    angle = torch.arange(half) * (2 * math.pi / half)
    circle = torch.stack([angle.cos(), angle.sin()], dim=-1)
    places = torch.cat([0.5 + 0.08 * circle, 0.5 + 0.35 * circle])
    return torch.logit(places).expand(classes, -1, -1).clone()


def _start_spread(out: nn.Linear, classes: int) -> None:
    nn.init.normal_(out.weight, std=1e-3)
    with torch.no_grad():
        out.bias.copy_(spread_start(classes).flatten())


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


def _convolve(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False),
        nn.GroupNorm(8, channels_out),
        nn.ReLU(inplace=True),
    )


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _convolve(width, width)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.GroupNorm(8, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(x + self.second(self.first(x)))
