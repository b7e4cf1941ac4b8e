"""The last sub-pixel of a field: a few demons iterations from where the network left off."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

_SMOOTHNESS = 1.5
"""Deviation in pixels of the Gaussian that smooths the field after each iteration."""


def polished(moving: np.ndarray, fixed: np.ndarray, field: np.ndarray, iterations: int) -> np.ndarray:
    """A field refined by diffeomorphic demons (Vercauteren 2009), SimpleITK's.

    Args:
        moving, fixed: (rows, columns) float32 in 0..1.
        field: (2, rows, columns) float32, (x, y) in pixels, that carries moving onto fixed.
        iterations: of the demons.

    Returns:
        (2, rows, columns) float32, (x, y) in pixels.
    """
    demons = sitk.DiffeomorphicDemonsRegistrationFilter()
    demons.SetNumberOfIterations(iterations)
    demons.SetStandardDeviations(_SMOOTHNESS)
    demons.SetSmoothDisplacementField(True)
    demons.SetNumberOfThreads(1)  # slices are small: several fields at once use the cores better
    start = sitk.GetImageFromArray(np.moveaxis(field, 0, -1).astype(np.float64), isVector=True)
    images = [sitk.GetImageFromArray(np.ascontiguousarray(plane, np.float32)) for plane in (fixed, moving)]
    return np.moveaxis(sitk.GetArrayFromImage(demons.Execute(*images, start)), -1, 0).astype(np.float32)
