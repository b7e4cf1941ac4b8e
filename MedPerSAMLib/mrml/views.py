"""Slice views: which slice they show, and how to go to one."""

from __future__ import annotations

import numpy as np
import slicer

from MedPerSAMLib.mrml.geometry import axis_along, nearest_slice, slice_centre, volume_to_world


def slice_nodes(scene: slicer.vtkMRMLScene) -> list[slicer.vtkMRMLSliceNode]:
    """All slice views of the scene, in the order they were made (Red first)."""
    nodes = scene.GetNodesByClass("vtkMRMLSliceNode")
    nodes.UnRegister(None)
    return [nodes.GetItemAsObject(i) for i in range(nodes.GetNumberOfItems())]


def normal(view: slicer.vtkMRMLSliceNode) -> np.ndarray:
    """The unit vector (R, A, S) that the view looks along."""
    return np.array([view.GetSliceToRAS().GetElement(row, 2) for row in range(3)])


def view_across(
    scene: slicer.vtkMRMLScene, volume: slicer.vtkMRMLVolumeNode, axis: int
) -> slicer.vtkMRMLSliceNode | None:
    """The view that faces the slices of an array axis best, or None without any view."""
    column = volume_to_world(volume)[:3, 2 - axis]
    direction = column / np.linalg.norm(column)
    return max(slice_nodes(scene), key=lambda view: abs(float(normal(view) @ direction)), default=None)


def axis_of_view(scene: slicer.vtkMRMLScene, volume: slicer.vtkMRMLVolumeNode) -> int | None:
    """The array axis that the first slice view looks along; None without any view."""
    views = slice_nodes(scene)
    return axis_along(volume, normal(views[0])) if views else None


def shown_slice(scene: slicer.vtkMRMLScene, volume: slicer.vtkMRMLVolumeNode, axis: int) -> int | None:
    """The slice of ``axis`` that the best facing view shows; None without any view."""
    view = view_across(scene, volume, axis)
    if view is None:
        return None
    position = np.array([view.GetSliceToRAS().GetElement(row, 3) for row in range(3)])
    return nearest_slice(volume, axis, position)


def go_to_slice(
    scene: slicer.vtkMRMLScene, volume: slicer.vtkMRMLVolumeNode, axis: int, index: int, mask: np.ndarray | None = None
) -> None:
    """Let all slice views jump to a slice, to the middle of the (rows, columns) ``mask`` on it where one is given."""
    pixel = None if mask is None or not mask.any() else tuple(np.argwhere(mask).mean(axis=0))
    point = slice_centre(volume, axis, index, pixel)
    for view in slice_nodes(scene):
        view.JumpSliceByCentering(*point)
