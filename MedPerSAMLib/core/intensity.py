"""Intensities of a volume or an image, brought to 0..1."""

from __future__ import annotations

import numpy as np

from MedPerSAMLib.errors import InputError

LOW_PERCENTILE, HIGH_PERCENTILE = 0.5, 99.5
_SAMPLE = 2_000_000
"""Voxels that the percentiles are taken from: enough for four digits, and fast on large volumes."""


def normalise_volume(array: np.ndarray) -> np.ndarray:
    """Scale the 0.5..99.5 percentile of the whole volume to 0..1, clipped (METHOD.md section 1, Frame).

    Args:
        array: (slices, rows, columns), finite.

    Returns:
        float32 of the same shape, in 0..1.

    Raises:
        InputError: every voxel has the same value.
    """
    flat = array.reshape(-1)
    low, high = np.percentile(flat[:: max(1, flat.size // _SAMPLE)], (LOW_PERCENTILE, HIGH_PERCENTILE))
    if high <= low:
        low, high = float(array.min()), float(array.max())
    if high <= low:
        raise InputError(f"Every voxel of the volume is {low:g}; load a volume that shows something.")
    return np.clip((array - low) / (high - low), 0, 1).astype(np.float32)


def normalise_image(array: np.ndarray) -> np.ndarray:
    """The same for one 2D image: (rows, columns) grey or (rows, columns, 3) colour, channels scaled together."""
    return normalise_volume(array.reshape(array.shape[0], array.shape[1], -1)).reshape(array.shape)
