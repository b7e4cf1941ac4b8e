"""Strokes of Segment Editor's brush and eraser on a slice of the volume, by Slicer's own editor logic."""

from __future__ import annotations

import numpy as np
import slicer
import vtk

from MedPerSAMLib.mrml.geometry import matrix_array, slice_centre, volume_to_world
from MedPerSAMLib.mrml.shared_grid import label_array

_LOGIC = slicer.vtkSlicerSegmentEditorLogic
ADD, REMOVE = _LOGIC.ModificationModeAdd, _LOGIC.ModificationModeRemove


class SegmentEditor:
    """Segment Editor on one segmentation and volume."""

    def __init__(self, segmentation, volume) -> None:
        self._segmentation, self._volume = segmentation, volume
        self._node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
        self._logic = _LOGIC()
        self._logic.SetMRMLScene(slicer.mrmlScene)
        self._logic.SetSegmentEditorNode(self._node)
        self._logic.SetSegmentationNode(segmentation)
        self._logic.SetSourceVolumeNode(volume)

    def stroke(self, segment_id: str, axis: int, index: int, pixels, radius_mm: float, mode=ADD) -> None:
        """Move a round brush, as thick as a slice of the volume, over (row, column) pixels of a slice."""
        self._node.SetSelectedSegmentID(segment_id)
        assert self._logic.ResetModifierLabelmapToDefault()
        modifier = self._logic.GetModifierLabelmap()
        label_array(modifier)[:] = 0
        step = volume_to_world(self._volume)[:3, 2 - axis]
        normal, thickness = step / np.linalg.norm(step), np.linalg.norm(step)
        off = self._in_world(modifier) - slice_centre(self._volume, axis, index)
        slab = np.flatnonzero(np.abs(off @ normal) <= thickness / 2)
        flat = off[slab] - (off[slab] @ normal)[:, None] * normal
        for pixel in pixels:
            middle = slice_centre(self._volume, axis, index, pixel) - slice_centre(self._volume, axis, index)
            inside = slab[np.linalg.norm(flat - middle, axis=1) <= radius_mm]
            label_array(modifier).reshape(-1)[inside] = 1
        modifier.Modified()
        self._logic.ModifySegmentByLabelmap(self._segmentation, segment_id, modifier, mode, False, False)

    def _in_world(self, image) -> np.ndarray:
        to_node, to_world = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
        image.GetImageToWorldMatrix(to_node)
        parent = self._segmentation.GetParentTransformNode()
        if parent is not None:
            parent.GetMatrixTransformToWorld(to_world)
        extent = image.GetExtent()
        k, j, i = np.indices(image.GetDimensions()[::-1]).reshape(3, -1)
        ijk = np.stack([i + extent[0], j + extent[2], k + extent[4], np.ones_like(i)])
        return (matrix_array(to_world) @ matrix_array(to_node) @ ijk)[:3].T
