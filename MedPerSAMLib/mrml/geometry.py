"""Where a volume's slices lie in the patient, and how a volume's voxels relate to a segmentation's.

Arrays are in numpy order (k, j, i); an *axis* is an array axis, so axis 0 counts k. Slices of an axis are numbered by
the array index along it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import slicer
import vtk

from MedPerSAMLib.errors import InputError

OBLIQUE_DEGREES = 1.0
"""Beyond this angle a slice painted in one grid runs through several slices of the other within a usual field of
view."""

_SHEAR = 1e-3
"""Cosine by which two axes of a grid may miss the right angle: a tenth of a pixel over a hundred."""

_PLANES = ("sagittal", "coronal", "axial")
"""The plane that lies across the R, A and S direction."""


def matrix_array(matrix: vtk.vtkMatrix4x4) -> np.ndarray:
    """(4, 4) float64 copy of a VTK matrix."""
    return np.array(matrix.GetData()).reshape(4, 4)


def transform_between(
    source: slicer.vtkMRMLTransformableNode, target: slicer.vtkMRMLTransformableNode
) -> vtk.vtkTransform:
    """The linear transform from ``source``'s own coordinates to ``target``'s (their parent transforms).

    Raises:
        InputError: a transform between them is not linear.
    """
    parents = source.GetParentTransformNode(), target.GetParentTransformNode()
    transform = vtk.vtkTransform()
    if parents[0] is parents[1]:
        return transform
    matrix = vtk.vtkMatrix4x4()
    if not slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(*parents, matrix):
        bent = next(p for p in parents if p is not None and not p.IsTransformToWorldLinear())
        raise InputError(
            f"The transform {bent.GetName()!r} is not linear, so voxels of volume and segmentation do "
            "not match one to one; harden it (Transforms module) and resample."
        )
    transform.SetMatrix(matrix)
    return transform


def check_transforms(segmentation: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLVolumeNode) -> None:
    """Whether a labelmap of the segmentation can have the volume's voxels.

    Raises:
        InputError: the transform between the nodes is not linear, or shears the volume's grid, which no labelmap can.
    """
    ijk_to_ras = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(ijk_to_ras)
    steps = (matrix_array(transform_between(volume, segmentation).GetMatrix()) @ matrix_array(ijk_to_ras))[:3, :3]
    directions = steps / np.linalg.norm(steps, axis=0)
    if np.abs(directions.T @ directions - np.eye(3)).max() > _SHEAR:
        raise InputError(
            f"The transforms of {volume.GetName()!r} and {segmentation.GetName()!r} shear one against the other, so that no "
            "labelmap can have the volume's voxels; put both under the same transform, or harden them (Transforms module)."
        )


def volume_to_world(volume: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """(4, 4) from the volume's (i, j, k) to world millimetres.

    Raises:
        InputError: the volume's transform is not linear.
    """
    ijk_to_ras = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(ijk_to_ras)
    parent = volume.GetParentTransformNode()
    if parent is None:
        return matrix_array(ijk_to_ras)
    to_world = vtk.vtkMatrix4x4()
    if not parent.GetMatrixTransformToWorld(to_world):
        raise InputError(
            f"The volume's transform {parent.GetName()!r} is not linear; harden it in the Transforms module."
        )
    return matrix_array(to_world) @ matrix_array(ijk_to_ras)


def spacing_of(volume: slicer.vtkMRMLVolumeNode) -> tuple[float, float, float]:
    """Millimetres per step along the array axes (k, j, i)."""
    return tuple(reversed(volume.GetSpacing()))


def spacing_across(spacing: tuple[float, float, float], axis: int) -> tuple[float, float, float]:
    """Millimetres per step along (k, j, i) -> from slice to slice of an array axis, and along their (rows, columns)."""
    return (spacing[axis], *(spacing[other] for other in range(3) if other != axis))


def same_grid(one: slicer.vtkMRMLVolumeNode, other: slicer.vtkMRMLVolumeNode) -> bool:
    """Whether the voxels of two volumes lie at the same places, so that slices of one are slices of the other."""
    if one.GetImageData().GetDimensions() != other.GetImageData().GetDimensions():
        return False
    return np.allclose(volume_to_world(one), volume_to_world(other), atol=1e-4)


def plane_name(volume: slicer.vtkMRMLVolumeNode, axis: int) -> str:
    """What people call the slices across an array axis: axial, coronal or sagittal, with "oblique" where they are
    turned."""
    direction = _direction(volume_to_world(volume), axis)
    nearest = int(np.argmax(np.abs(direction)))
    turned = math.degrees(math.acos(min(1.0, abs(direction[nearest]))))
    return ("oblique " if turned > 15 else "") + _PLANES[nearest]


def axis_of_plane(volume: slicer.vtkMRMLVolumeNode, plane: str) -> int:
    """The array axis whose slices lie in a plane (axial, coronal or sagittal), or lie in it most nearly."""
    across = _own_directions(volume)[_PLANES.index(plane)]
    return 2 - int(np.abs(across).argmax())


def plane_of_axis(volume: slicer.vtkMRMLVolumeNode, axis: int) -> str:
    """The plane that the slices across an array axis lie in most nearly."""
    return _PLANES[int(np.abs(_own_directions(volume)[:, 2 - axis]).argmax())]


def in_plane_directions(volume: slicer.vtkMRMLVolumeNode, axis: int) -> str:
    """The patient directions that rows and columns of the slices across an array axis run towards, such as "PL"."""
    letters = ""
    for other in (a for a in range(3) if a != axis):
        direction = _own_directions(volume)[:, 2 - other]
        nearest = int(np.abs(direction).argmax())
        letters += ("LR", "PA", "IS")[nearest][int(direction[nearest] > 0)]
    return letters


def slice_centre(
    volume: slicer.vtkMRMLVolumeNode, axis: int, index: int, pixel: tuple[float, float] | None = None
) -> np.ndarray:
    """World (R, A, S) of a slice's centre, or of the (row, column) ``pixel`` on it."""
    shape = volume.GetImageData().GetDimensions()[::-1]
    point = [(size - 1) / 2 for size in shape]
    if pixel is not None:
        for other, value in zip([a for a in range(3) if a != axis], pixel):
            point[other] = value
    point[axis] = index
    return (volume_to_world(volume) @ [*point[::-1], 1.0])[:3]


def nearest_slice(volume: slicer.vtkMRMLVolumeNode, axis: int, world: np.ndarray) -> int:
    """The slice of ``axis`` nearest to a world point, clipped to the volume."""
    ijk = np.linalg.inv(volume_to_world(volume)) @ [*world, 1.0]
    count = volume.GetImageData().GetDimensions()[2 - axis]
    return int(np.clip(round(float(ijk[2 - axis])), 0, count - 1))


def axis_along(volume: slicer.vtkMRMLVolumeNode, normal: np.ndarray) -> int:
    """The array axis whose slices face ``normal`` best."""
    to_world = volume_to_world(volume)
    return int(np.argmax([abs(np.dot(_direction(to_world, axis), normal)) for axis in range(3)]))


@dataclass(frozen=True)
class GridMatch:
    """How a segmentation's own voxel grid lies in the volume's.

    Attributes:
        exact: every voxel of one is a voxel of the other (shifted, flipped or permuted by whole voxels).
        degrees: the largest angle between matching axes.
        coarser: a voxel of the segmentation is more than 1 % larger along some axis.
    """

    exact: bool
    degrees: float
    coarser: bool


def compare_grids(volume_to_segment: np.ndarray, segment_spacing: Sequence[float]) -> GridMatch:
    """Judge the (4, 4) matrix from the volume's (i, j, k) to the segmentation's (i, j, k), whose steps are so many mm long."""
    steps = volume_to_segment[:3, :3]
    lengths = np.linalg.norm(steps, axis=0)
    in_mm = steps * np.asarray(segment_spacing)[:, None]
    cosines = np.abs(in_mm / np.linalg.norm(in_mm, axis=0)).max(axis=0)
    degrees = float(np.degrees(np.arccos(np.clip(cosines, 0, 1))).max())
    exact = bool(
        np.allclose(np.abs(steps).sum(axis=0), 1, atol=1e-3)
        and np.allclose(volume_to_segment, np.round(volume_to_segment), atol=1e-2)
    )
    return GridMatch(exact, degrees, bool((lengths < 0.99).any()))


def _direction(to_world: np.ndarray, axis: int) -> np.ndarray:
    column = to_world[:3, 2 - axis]
    return column / np.linalg.norm(column)


def _own_directions(volume: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """(3, 3) unit columns of i, j, k in R, A, S, without the volume's transform: how it was recorded."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    steps = matrix_array(matrix)[:3, :3]
    return steps / np.linalg.norm(steps, axis=0)
