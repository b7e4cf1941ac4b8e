"""Snap: a rough shape that the user drew on a slice becomes the outline of the structure in it.

A rectangle by Scissors, or a quick scribble around the structure, is enough; what comes out counts as drawn by hand, and is
propagated like that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import slicer

from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.errors import InputError
from MedPerSAMLib.mrml.annotated_slices import find_annotation
from MedPerSAMLib.mrml.editing_rules import EditingRules, check_mask
from MedPerSAMLib.mrml.geometry import spacing_across, spacing_of
from MedPerSAMLib.mrml.segment_reader import read_slice, segment_of
from MedPerSAMLib.mrml.segment_writer import write_slice
from MedPerSAMLib.mrml.targets import Target
from MedPerSAMLib.mrml.undo import UndoHistory
from MedPerSAMLib.mrml.undo_step import UndoStep
from MedPerSAMLib.mrml.views import axis_of_view, shown_slice
from MedPerSAMLib.mrml.volume_reader import slices_first, voxels
from MedPerSAMLib.services.outline_work import outline_slice
from MedPerSAMLib.services.propagation_work import Order, SessionCache

if TYPE_CHECKING:
    from MedPerSAMLib.core.outline import Outline

CHANGED = "The slice was drawn on meanwhile, so it stays as it is; press Snap again."


@dataclass(frozen=True)
class Snap:
    """A rough shape and all that is needed to outline it.

    Attributes:
        volume: the grey volume.
        segmentation: holds the segment.
        segment_id: the segment.
        axis: array axis across which the slice is one.
        index: the slice.
        shape: (rows, columns) bool, what was drawn on it.
        rules: where may be written.
        order: volume and model.
    """

    volume: slicer.vtkMRMLScalarVolumeNode
    segmentation: slicer.vtkMRMLSegmentationNode
    segment_id: str
    axis: int
    index: int
    shape: np.ndarray
    rules: EditingRules
    order: Order

    @property
    def name(self) -> str:
        """The segment's, and the slice's number."""
        return f"{segment_of(self.segmentation, self.segment_id).GetName()}, slice {self.index}"

    def compute(self, sessions: SessionCache, listener: Progress) -> Outline:
        """Find the structure; any thread."""
        return outline_slice(self.order, self.index, self.shape, sessions, listener)

    def write(self, outline: Outline, history: UndoHistory) -> UndoStep:
        """Replace the shape by the outline, after the segmentation as it is was saved for Undo.

        Raises:
            InputError: the slice was drawn on meanwhile, or the segment is gone.
        """
        where = self.segmentation, self.segment_id, self.volume, self.axis, self.index
        if not np.array_equal(read_slice(*where), self.shape):
            raise InputError(CHANGED)
        step = UndoStep(history, self.segmentation, self.volume, "snap")
        step.begin()
        with step.writing():
            write_slice(*where, np.where(self.rules.allowed(self.index), outline.mask, self.shape))
        step.close(())
        return step


def plan_snap(
    volume: slicer.vtkMRMLScalarVolumeNode,
    segmentation: slicer.vtkMRMLSegmentationNode,
    segment_id: str,
    choices: tuple[str, str | None, str],
    scene: slicer.vtkMRMLScene,
    editor: slicer.vtkMRMLSegmentEditorNode | None = None,
) -> Snap:
    """Read the rough shape: that on the shown slice, or the only one.

    Args:
        volume: the grey volume.
        segmentation: holds the segment.
        segment_id: the segment.
        choices: method, model and device of the order.
        scene: its slice views tell which slice is meant.
        editor: Segment Editor's node, whose mask and overwrite mode bound the writing.

    Raises:
        InputError: nothing is drawn on the shown slice, but on several others; or a node that cannot be worked on.
    """
    array = voxels(volume)
    annotation = find_annotation(segmentation, segment_id, volume, axis_of_view(scene, volume))
    axis, drawn = annotation.axis, sorted(annotation.masks)
    shown = shown_slice(scene, volume, axis)
    index = drawn[0] if len(drawn) == 1 else shown
    if index not in annotation.masks:
        name, numbers = segment_of(segmentation, segment_id).GetName(), ", ".join(map(str, drawn))
        raise InputError(f"{name} is drawn on the slices {numbers}, and none of them is shown; go to the one to snap.")
    check_mask(editor, segmentation)
    rules = EditingRules(segmentation, segment_id, Target(segmentation, segment_id), volume, axis, editor)
    order = Order(slices_first(array, axis), spacing_across(spacing_of(volume), axis), {}, {}, *choices)
    return Snap(volume, segmentation, segment_id, axis, index, annotation.masks[index], rules, order)
