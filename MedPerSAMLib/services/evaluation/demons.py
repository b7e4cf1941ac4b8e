"""SimpleITK's diffeomorphic demons, the classical warp that ours is compared with."""

from __future__ import annotations

import numpy as np

ITERATIONS = 40


def carry_by_demons(moving: np.ndarray, fixed: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Carry the mask of the moving image onto the fixed one.

    Args:
        moving: (rows, columns) in 0..1.
        fixed: the same.
        mask: (rows, columns) bool, on the moving image.

    Returns:
        (rows, columns) float32 in 0..1.
    """
    import SimpleITK as sitk

    images = [sitk.GetImageFromArray(np.ascontiguousarray(array, np.float32)) for array in (fixed, moving, mask)]
    demons = sitk.DiffeomorphicDemonsRegistrationFilter()
    demons.SetNumberOfIterations(ITERATIONS)
    demons.SetStandardDeviations(1.5)
    field = sitk.Cast(demons.Execute(images[0], images[1]), sitk.sitkVectorFloat64)
    transform = sitk.DisplacementFieldTransform(field)
    return sitk.GetArrayFromImage(sitk.Resample(images[2], images[0], transform, sitk.sitkLinear, 0.0))
