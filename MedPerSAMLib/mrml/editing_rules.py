"""Where Segment Editor's settings let a propagation write: its mask, its intensity range, and the other segments.

Other segments are never changed by a propagation. Where the editor is set to overwrite them (no overlap), the
propagated structure yields to what is already there, so that nobody's work disappears under a tired eye; where overlap
is allowed, it passes over them.
"""

from __future__ import annotations

import numpy as np
import slicer

from MedPerSAMLib.errors import InputError
from MedPerSAMLib.mrml.segment_reader import read_slice
from MedPerSAMLib.mrml.volume_reader import slices_first, voxels


class EditingRules:
    """The rules of one run.

    Args:
        segmentation: whose segments bound the writing.
        volume: gives grid and intensities.
        axis: array axis across which slices are written.
        editor: Segment Editor's node; None writes everywhere and lets segments overlap.

    Raises:
        InputError: the mask's segment does not exist.
    """

    def __init__(
        self,
        segmentation: slicer.vtkMRMLSegmentationNode,
        volume: slicer.vtkMRMLScalarVolumeNode,
        axis: int,
        editor: slicer.vtkMRMLSegmentEditorNode | None = None,
    ) -> None:
        self._segmentation, self._volume, self._axis, self._editor = segmentation, volume, axis, editor
        self._array = slices_first(voxels(volume), axis)
        single = slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment
        if editor is not None and editor.GetMaskMode() == single and editor.GetMaskSegmentID() not in self._ids():
            raise InputError("Segment Editor's mask names a segment that is not there; choose its Editable area anew.")

    def allowed(self, segment_id: str, index: int) -> np.ndarray:
        """(rows, columns) bool: where slice ``index`` of the segment may change."""
        free = np.ones(self._array.shape[1:], bool)
        if self._editor is None:
            return free
        if self._editor.GetSourceVolumeIntensityMask():
            low, high = self._editor.GetSourceVolumeIntensityMaskRange()
            free &= (self._array[index] >= low) & (self._array[index] <= high)
        area = self._area(segment_id, index)
        if area is not None:
            free &= area
        mode = self._editor.GetOverwriteMode()
        if mode != self._editor.OverwriteNone:
            free &= ~self._union(self._others(segment_id, mode == self._editor.OverwriteVisibleSegments), index)
        return free

    def _area(self, segment_id: str, index: int) -> np.ndarray | None:
        node, mode = slicer.vtkMRMLSegmentationNode, self._editor.GetMaskMode()
        if mode == node.EditAllowedInsideSingleSegment:
            return self._union([self._editor.GetMaskSegmentID()], index)
        if mode in (node.EditAllowedInsideAllSegments, node.EditAllowedInsideVisibleSegments):
            return self._union(self._others(segment_id, mode == node.EditAllowedInsideVisibleSegments), index)
        if mode in (node.EditAllowedOutsideAllSegments, node.EditAllowedOutsideVisibleSegments):
            return ~self._union(self._others(segment_id, mode == node.EditAllowedOutsideVisibleSegments), index)
        return None

    def _union(self, segment_ids: list[str], index: int) -> np.ndarray:
        union = np.zeros(self._array.shape[1:], bool)
        for other in segment_ids:
            union |= read_slice(self._segmentation, other, self._volume, self._axis, index)
        return union

    def _others(self, segment_id: str, visible_only: bool) -> list[str]:
        display = self._segmentation.GetDisplayNode()
        return [
            other
            for other in self._ids()
            if other != segment_id and (not visible_only or display is None or display.GetSegmentVisibility(other))
        ]

    def _ids(self) -> list[str]:
        content = self._segmentation.GetSegmentation()
        return [content.GetNthSegmentID(i) for i in range(content.GetNumberOfSegments())]
