"""What a pixel looks like: local intensity statistics at several scales, on the working grid."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

SCALES = (1.0, 2.0, 4.0, 8.0)
"""Gaussian widths in working pixels: from the pixel itself to its surroundings."""

_FINEST_GRADIENT_SCALES = 3
"""Scales whose gradient is used; coarser gradients repeat the means."""

PER_CHANNEL = 12
_CONTEXT = slice(7, 12)
_LEVELS = (0, 1, 4, 7, 10)


def context_features(count: int) -> np.ndarray:
    """(count,) bool, the features of the two coarsest scales: a pixel's surroundings rather than the pixel itself."""
    one = np.zeros(PER_CHANNEL, bool)
    one[_CONTEXT] = True
    return np.tile(one, count // PER_CHANNEL)


def level_features(count: int) -> np.ndarray:
    """(count,) bool, the features that a change of brightness adds to: the intensity and its means."""
    one = np.zeros(PER_CHANNEL, bool)
    one[list(_LEVELS)] = True
    return np.tile(one, count // PER_CHANNEL)


_REACH = 3.0

Window = tuple[slice, slice]


def window_around(mask: np.ndarray, margin: int) -> Window:
    """The smallest window that holds a non-empty (rows, columns) mask with ``margin`` pixels around it."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (
        slice(max(0, rows[0] - margin), min(mask.shape[0], rows[-1] + 1 + margin)),
        slice(max(0, columns[0] - margin), min(mask.shape[1], columns[-1] + 1 + margin)),
    )


def local_features(plane: np.ndarray, window: Window | None = None) -> np.ndarray:
    """Intensity, and mean, deviation and gradient of its neighbourhood at each scale.

    Args:
        plane: (rows, columns) float32 in 0..1, or (rows, columns, 3) colour.
        window: the part to compute; everything where None.

    Returns:
        (window rows, window columns, 12) float32, or 36 for colour.
    """
    if plane.ndim == 3:
        return np.concatenate(
            [local_features(plane[..., channel], window) for channel in range(plane.shape[2])], axis=-1
        )
    window = (slice(0, plane.shape[0]), slice(0, plane.shape[1])) if window is None else window
    margin = int(_REACH * max(SCALES)) + 1
    padded = tuple(slice(max(0, w.start - margin), min(n, w.stop + margin)) for w, n in zip(window, plane.shape))
    part = plane[padded]
    inner = tuple(slice(w.start - p.start, w.stop - p.start) for w, p in zip(window, padded))
    layers = [part[inner]]
    for number, scale in enumerate(SCALES):
        mean = ndimage.gaussian_filter(part, scale, truncate=_REACH)
        square = ndimage.gaussian_filter(part * part, scale, truncate=_REACH)
        layers += [mean[inner], np.sqrt(np.maximum(square - mean * mean, 0))[inner]]
        if number < _FINEST_GRADIENT_SCALES and min(part.shape) > 1:
            layers.append(np.hypot(*np.gradient(mean))[inner])
        elif number < _FINEST_GRADIENT_SCALES:
            layers.append(np.zeros_like(mean[inner]))
    return np.stack(layers, axis=-1).astype(np.float32)
