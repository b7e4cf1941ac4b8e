"""g_point: one point per subregion inside the mask and around it (METHOD.md section 1, Prompts).

The inside is divided into Voronoi cells, the ring around it into angular sectors, and each subregion gives one point: the
paper's cure for points that cluster where a score happens to be highest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.cluster.vq import kmeans2, vq


@dataclass(frozen=True)
class PointSettings:
    """How points are chosen; lengths are in units of r = sqrt(area / pi), so that they scale with the structure.

    Attributes:
        positives: Voronoi cells inside.
        negatives: angular sectors around.
        inner: how far from the border a positive stays.
        gap: how far outside the border the ring of negatives begins.
        ring: how wide the ring is.
        flat: span of the score below which it decides nothing and cell centres are used.
    """

    positives: int = 3
    negatives: int = 4
    inner: float = 0.25
    gap: float = 0.25
    ring: float = 0.35
    flat: float = 0.05


def point_prompts(
    mask: np.ndarray, score: np.ndarray | None, scale: float, settings: PointSettings, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Points of one mask.

    Args:
        mask: (f, f) bool, not empty.
        score: (f, f) how much each place looks like the structure rather than its surroundings (positive: like it);
            None where there is no such score.
        scale: frame pixels per mask pixel.
        settings: how points are chosen.
        seed: of the division into cells.

    Returns:
        points (N, 2) float32 (x, y) in frame pixels and labels (N,) int64, 1 inside and 0 around. A point whose score
        contradicts its label is dropped, but one positive always remains.
    """
    radius = max(1.0, float(np.sqrt(mask.sum() / np.pi)))
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    inside = depth > settings.inner * radius
    if not inside.any():
        inside = depth >= 0.7 * depth.max()
    outside = ndimage.distance_transform_edt(~mask)
    ring = (outside > settings.gap * radius + 1) & (outside <= (settings.gap + settings.ring) * radius + 2)
    chosen = [(place, 1) for place in _one_per_cell(inside, depth, score, settings, seed)]
    chosen += [(place, 0) for place in _one_per_sector(ring, mask, score, settings)]
    if score is not None:
        agreeing = [(p, label) for p, label in chosen if (score[p] >= 0) == bool(label)]
        chosen = agreeing if any(label for _, label in agreeing) else [c for c in chosen if c[1]][:1] + [
            c for c in agreeing if not c[1]
        ]
    points = np.array([(column + 0.5, row + 0.5) for (row, column), _ in chosen], np.float32) * scale
    return points, np.array([label for _, label in chosen], np.int64)


def pad_points(sets: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Point sets of different lengths as one batch: points (B, N, 2) and labels (B, N), padded with label -1."""
    longest = max(len(labels) for _, labels in sets)
    points = np.zeros((len(sets), longest, 2), np.float32)
    labels = np.full((len(sets), longest), -1, np.int64)
    for row, (p, kind) in enumerate(sets):
        points[row, : len(p)], labels[row, : len(kind)] = p, kind
    return points, labels


def _one_per_cell(
    inside: np.ndarray, depth: np.ndarray, score: np.ndarray | None, settings: PointSettings, seed: int
) -> list[tuple[int, int]]:
    places = np.argwhere(inside)
    count = min(settings.positives, len(places))
    if count == 1:
        return [tuple(places[np.argmax(depth[inside])])]
    centres, _ = kmeans2(places.astype(float), count, minit="++", seed=seed)
    cells, _ = vq(places.astype(float), centres)
    return [_best(places[cells == cell], score, settings.flat, 1) for cell in np.unique(cells)]


def _one_per_sector(
    ring: np.ndarray, mask: np.ndarray, score: np.ndarray | None, settings: PointSettings
) -> list[tuple[int, int]]:
    places = np.argwhere(ring)
    offset = places - np.argwhere(mask).mean(axis=0)
    turn = np.arctan2(offset[:, 0], offset[:, 1]) / (2 * np.pi) % 1.0
    sectors = np.minimum((turn * settings.negatives).astype(int), settings.negatives - 1)
    return [_best(places[sectors == sector], score, settings.flat, -1) for sector in np.unique(sectors)]


def _best(places: np.ndarray, score: np.ndarray | None, flat: float, sign: int) -> tuple[int, int]:
    """The place with the highest ``sign * score``; the one nearest the subregion's centre where the score is flat."""
    values = None if score is None else sign * score[places[:, 0], places[:, 1]]
    if values is None or np.ptp(values) < flat:
        values = -np.square(places - places.mean(axis=0)).sum(axis=1)
    row, column = places[int(np.argmax(values))]
    return int(row), int(column)
