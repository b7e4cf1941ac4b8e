"""How well a predicted mask matches the truth.

Empty masks: two empty masks agree (Dice 1, NSD 1, HD95 0). Where only one is empty, Dice and NSD are 0 and HD95 is the
diagonal of the volume, so that a structure that was missed altogether is not left out of a mean.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

NSD_TOLERANCE_MM = 2.0
"""Surface points closer than this to the other surface count as agreeing."""

_HAUSDORFF_PERCENTILE = 95


def dice(prediction: np.ndarray, truth: np.ndarray) -> float:
    """2 |A and B| / (|A| + |B|) of two bool arrays of one shape; 1 where both are empty."""
    total = np.count_nonzero(prediction) + np.count_nonzero(truth)
    return 1.0 if total == 0 else 2.0 * np.count_nonzero(prediction & truth) / total


def intersection_over_union(prediction: np.ndarray, truth: np.ndarray) -> float:
    """|A and B| / |A or B| of two bool arrays of one shape; 1 where both are empty."""
    union = np.count_nonzero(prediction | truth)
    return 1.0 if union == 0 else np.count_nonzero(prediction & truth) / union


def slice_dice(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(slices,) Dice of every slice of two (slices, rows, columns) bool arrays; NaN where both slices are empty."""
    overlap = np.count_nonzero(prediction & truth, axis=(1, 2))
    total = np.count_nonzero(prediction, axis=(1, 2)) + np.count_nonzero(truth, axis=(1, 2))
    return np.where(total > 0, 2.0 * overlap / np.maximum(total, 1), np.nan)


def false_continuation(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Share of the predicted voxels that lie on slices without the structure; 0 where nothing is predicted.

    Args:
        prediction: (slices, rows, columns) bool.
        truth: the same.
    """
    predicted = np.count_nonzero(prediction, axis=(1, 2))
    absent = ~truth.any(axis=(1, 2))
    return float(predicted[absent].sum() / max(predicted.sum(), 1))


@dataclass(frozen=True)
class SurfaceAgreement:
    """How close two surfaces are.

    Attributes:
        nsd: normalised surface Dice, 0..1: share of both surfaces' voxels within the tolerance of the other surface.
        hd95: the larger of both directions' 95th percentile of surface distance, in millimetres.
    """

    nsd: float
    hd95: float


def surface_agreement(
    prediction: np.ndarray,
    truth: np.ndarray,
    spacing: tuple[float, float, float],
    tolerance: float = NSD_TOLERANCE_MM,
    skip: Collection[int] = (),
) -> SurfaceAgreement:
    """Compare the surfaces of two (slices, rows, columns) bool arrays.

    A surface voxel is one of the mask with at least one of its six neighbours outside; each counts once, whatever the
    area of its face. Distances are exact, between voxel centres in millimetres.

    Args:
        prediction: bool.
        truth: bool.
        spacing: millimetres along each axis.
        tolerance: of NSD, in millimetres.
        skip: slices whose surface voxels are not scored, because their mask was given; they still are surface for the
            others, so that leaving them out opens no false surface beside them.
    """
    kept = np.ones(len(truth), bool)
    kept[list(skip)] = False
    surfaces = [_surface_points(mask) for mask in (prediction, truth)]
    scored = [points[kept[points[:, 0]]] for points in surfaces]
    if not len(scored[0]) and not len(scored[1]):
        return SurfaceAgreement(1.0, 0.0)
    if not len(surfaces[0]) or not len(surfaces[1]):
        return SurfaceAgreement(0.0, float(np.linalg.norm(np.multiply(truth.shape, spacing))))
    distances = [
        cKDTree(other * spacing).query(points * spacing)[0]
        for points, other in ((scored[0], surfaces[1]), (scored[1], surfaces[0]))
    ]
    close = sum(np.count_nonzero(part <= tolerance) for part in distances)
    return SurfaceAgreement(
        close / sum(len(part) for part in distances),
        max(float(np.percentile(part, _HAUSDORFF_PERCENTILE)) for part in distances if len(part)),
    )


def spearman(first: np.ndarray, second: np.ndarray) -> float | None:
    """Rank correlation of two (n,) arrays; None for fewer than three pairs or where one of them is constant."""
    from scipy import stats

    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(stats.spearmanr(first, second).statistic)


def _surface_points(mask: np.ndarray) -> np.ndarray:
    """(n, 3) indices of the mask's surface voxels, found inside the mask's own box: the rest of the volume is empty."""
    boxes = ndimage.find_objects(mask.astype(np.uint8), max_label=1)
    if boxes[0] is None:
        return np.zeros((0, 3), int)
    part = mask[boxes[0]]
    inner = ndimage.binary_erosion(np.pad(part, 1))[1:-1, 1:-1, 1:-1]
    return np.argwhere(part & ~inner) + [side.start for side in boxes[0]]
