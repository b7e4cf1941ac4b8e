"""Where on another image a structure lies: its annotated outline, moved and scaled to where the image looks like it.

Between images of different patients nothing is carried from a neighbour. The outline of the annotated mask is tried at all
places and several sizes, and scored by how much more the image looks like the structure inside than around it; places far
from the annotated one must look better to win.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.signal import fftconvolve

from MedPerSAMLib.core.appearance import ring_around


@dataclass(frozen=True)
class PlaceSettings:
    """How outlines are tried.

    Attributes:
        scales: sizes relative to the annotated outline.
        stay: log-odds lost for a shift by the longer side of the image; grows with the square of the shift.
        keep_size: log-odds lost per squared natural logarithm of the scale.
    """

    scales: tuple[float, ...] = (0.5, 0.63, 0.79, 1.0, 1.26, 1.59)
    stay: float = 4.0
    keep_size: float = 1.0


def place_outline(mask: np.ndarray, log_odds: np.ndarray, settings: PlaceSettings) -> np.ndarray:
    """The best place and size of an outline.

    Args:
        mask: (rows, columns) bool, the outline where it is expected; not empty.
        log_odds: (rows, columns) how much each pixel looks like the structure.
        settings: how outlines are tried.

    Returns:
        (rows, columns) bool, the outline moved and scaled.
    """
    best, best_score = mask, -np.inf
    longest = max(mask.shape)
    centre = np.argwhere(mask).mean(axis=0)
    rows, columns = np.mgrid[: mask.shape[0], : mask.shape[1]]
    for scale in settings.scales:
        places = [(axis - c) / scale + c for axis, c in zip((rows, columns), centre)]
        outline = ndimage.map_coordinates(mask.astype(np.float32), places, order=1) > 0.5
        if not outline.any():
            continue
        scores, shift = contrasts(outline, log_odds)
        squared = (shift[0][:, None] ** 2 + shift[1][None, :] ** 2) / longest**2
        scores = scores - settings.stay * squared - settings.keep_size * np.log(scale) ** 2
        row, column = np.unravel_index(np.argmax(scores), scores.shape)
        moved = ndimage.shift(outline.astype(np.float32), (shift[0][row], shift[1][column]), order=0) > 0.5
        if scores[row, column] > best_score and moved.any():
            best, best_score = moved, float(scores[row, column])
    return best


def contrasts(outline: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """The mean of values inside a shifted outline less that in the ring around it, and the shifts down and to the right.

    The result has a row for every shift down and a column for every shift to the right.
    """
    ring = ring_around(outline, 0.5)
    template = outline / outline.sum() - ring / max(1, ring.sum())
    scores = fftconvolve(values, template[::-1, ::-1])
    return scores, tuple(np.arange(scores.shape[axis]) - (outline.shape[axis] - 1) for axis in (0, 1))
