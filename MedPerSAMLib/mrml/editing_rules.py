"""Where Segment Editor's settings let a propagation write: its mask, its intensity range, and the other segments.

Other segments are never changed by a propagation. Where the editor is set to overwrite them (no overlap), which is its
default and ours without it, the propagated structure yields to what is already there, so that nobody's work disappears
under a tired eye; where overlap is allowed, it passes over them. The masks count only while the editor shows the
segmentation, because those of another one mean nothing here.
"""

from __future__ import annotations

import numpy as np
import slicer

from MedPerSAMLib.errors import InputError
from MedPerSAMLib.mrml.segment_reader import read_union, segment_ids
from MedPerSAMLib.mrml.targets import Target, of_one_drawing
from MedPerSAMLib.mrml.volume_reader import slices_first, voxels


def check_mask(editor: slicer.vtkMRMLSegmentEditorNode | None, segmentation: slicer.vtkMRMLSegmentationNode) -> None:
    """Raise InputError if the editor's editable area names a segment that is not there."""
    single = slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment
    masks = _shows(editor, segmentation) and editor.GetMaskMode() == single
    if masks and editor.GetMaskSegmentID() not in segment_ids(segmentation):
        raise InputError("Segment Editor's mask names a segment that is not there; choose its Editable area anew.")


def overlap_allowed(editor: slicer.vtkMRMLSegmentEditorNode | None) -> bool:
    """Whether segments may overlap, as Segment Editor is set."""
    return _overwrite_mode(editor) == slicer.vtkMRMLSegmentEditorNode.OverwriteNone


class EditingRules:
    """The rules of one run for one structure.

    Args:
        segmentation: where the structure was drawn; its segments make the editable area.
        segment_id: the drawn segment, which bounds nothing.
        target: the segment that is written; the other segments of its node are spared.
        volume: gives grid and intensities.
        axis: array axis across which slices are written.
        editor: Segment Editor's node; None for no mask and no overlap.
    """

    def __init__(
        self,
        segmentation: slicer.vtkMRMLSegmentationNode,
        segment_id: str,
        target: Target,
        volume: slicer.vtkMRMLScalarVolumeNode,
        axis: int,
        editor: slicer.vtkMRMLSegmentEditorNode | None = None,
    ) -> None:
        self._segmentation, self._target, self._volume, self._axis = segmentation, target, volume, axis
        self._own = of_one_drawing(target.segmentation, {segment_id, target.segment_id}) | {segment_id}
        self._editor = editor
        self._array = slices_first(voxels(volume), axis)

    def allowed(self, index: int) -> np.ndarray:
        """(rows, columns) bool: where slice ``index`` may change."""
        free = np.ones(self._array.shape[1:], bool)
        if _shows(self._editor, self._segmentation):
            if self._editor.GetSourceVolumeIntensityMask():
                low, high = self._editor.GetSourceVolumeIntensityMaskRange()
                free &= (self._array[index] >= low) & (self._array[index] <= high)
            area = self._area(index)
            if area is not None:
                free &= area
        if not overlap_allowed(self._editor):
            visible = _overwrite_mode(self._editor) == slicer.vtkMRMLSegmentEditorNode.OverwriteVisibleSegments
            free &= ~self._union(self._target.segmentation, self._others(self._target.segmentation, visible), index)
        return free

    def _area(self, index: int) -> np.ndarray | None:
        node, mode, source = slicer.vtkMRMLSegmentationNode, self._editor.GetMaskMode(), self._segmentation
        if mode == node.EditAllowedInsideSingleSegment:
            return self._union(source, [self._editor.GetMaskSegmentID()], index)
        if mode in (node.EditAllowedInsideAllSegments, node.EditAllowedInsideVisibleSegments):
            visible = mode == node.EditAllowedInsideVisibleSegments
            return self._union(source, self._others(source, visible), index)
        if mode in (node.EditAllowedOutsideAllSegments, node.EditAllowedOutsideVisibleSegments):
            visible = mode == node.EditAllowedOutsideVisibleSegments
            return ~self._union(source, self._others(source, visible), index)
        return None

    def _union(self, segmentation: slicer.vtkMRMLSegmentationNode, segment_ids: list[str], index: int) -> np.ndarray:
        return read_union(segmentation, segment_ids, self._volume, self._axis, index)

    def _others(self, segmentation: slicer.vtkMRMLSegmentationNode, visible_only: bool) -> list[str]:
        display = segmentation.GetDisplayNode()
        return [
            other
            for other in segment_ids(segmentation)
            if other not in self._own and (not visible_only or display is None or display.GetSegmentVisibility(other))
        ]


def _shows(editor: slicer.vtkMRMLSegmentEditorNode | None, segmentation: slicer.vtkMRMLSegmentationNode) -> bool:
    return editor is not None and editor.GetSegmentationNode() in (None, segmentation)


def _overwrite_mode(editor: slicer.vtkMRMLSegmentEditorNode | None) -> int:
    return slicer.vtkMRMLSegmentEditorNode.OverwriteAllSegments if editor is None else editor.GetOverwriteMode()
