"""A volume node as the core sees it."""

from __future__ import annotations

import numpy as np
import slicer

from MedPerSAMLib.errors import InputError


def voxels(volume: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray:
    """The volume's (k, j, i) voxels without a copy; the view keeps VTK's memory alive even if the node is deleted.

    Raises:
        InputError: no image, a colour image, or a single slice.
    """
    image = volume.GetImageData() if volume is not None else None
    if image is None or image.GetPointData().GetScalars() is None:
        name = "No volume" if volume is None else f"{volume.GetName()!r}"
        raise InputError(f"{name} holds no image; choose a volume that is loaded.")
    components = image.GetNumberOfScalarComponents()
    if components != 1:
        raise InputError(
            f"{volume.GetName()!r} has {components} values per voxel; convert it to a scalar volume "
            "(Vector to Scalar Volume module)."
        )
    if max(image.GetDimensions()) == 1 or sorted(image.GetDimensions())[1] == 1:
        raise InputError(
            f"{volume.GetName()!r} has the size {image.GetDimensions()}; choose a volume with several slices."
        )
    return slicer.util.arrayFromVolume(volume)


def slices_first(array: np.ndarray, axis: int) -> np.ndarray:
    """The (k, j, i) array seen as (slices, rows, columns) of ``axis``; a view."""
    return np.moveaxis(array, axis, 0)
