"""The last look at the whole structure: smooth across slices, and only what hangs together with an annotation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import ndimage


def smooth_across(
    scores: np.ndarray, present: np.ndarray, references: Mapping[int, np.ndarray], width: float
) -> np.ndarray:
    """Smooth (slices, rows, columns) signed distances along the slices, annotated slices held fixed.

    Args:
        scores: pixels to the outline, positive inside.
        present: (slices,) bool, slices that hold the structure; the others are left out of the averages.
        references: annotated slice -> (rows, columns) bool.
        width: Gaussian width in slices.

    Returns:
        float32 of the same shape; unchanged on absent and annotated slices.
    """
    if width <= 0 or present.sum() < 3:
        return scores
    weight = present.astype(np.float32)[:, None, None]
    total = ndimage.gaussian_filter1d(scores * weight, width, axis=0, truncate=2.0)
    norm = ndimage.gaussian_filter1d(weight, width, axis=0, truncate=2.0)
    smooth = np.where(weight > 0, total / np.maximum(norm, 1e-6), scores)
    for index in references:
        smooth[index] = scores[index]
    return smooth.astype(np.float32)


def touching_references(mask: np.ndarray, references: Mapping[int, np.ndarray]) -> np.ndarray:
    """The (slices, rows, columns) bool components of a mask that touch an annotated slice's annotation."""
    labels, count = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    if count <= 1:
        return mask
    keep = np.zeros(count + 1, bool)
    for index, annotated in references.items():
        keep[np.unique(labels[index][annotated])] = True
    keep[0] = False
    return keep[labels]
