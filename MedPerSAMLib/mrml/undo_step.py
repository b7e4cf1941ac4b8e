"""The undo step of one run: taken back and brought back, as long as nothing else has changed the segmentation.

A step holds the whole segmentation, so that what was drawn while the run wrote, or after it, would go with it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import slicer

from MedPerSAMLib.mrml.segment_reader import segment_ids, stored_labels
from MedPerSAMLib.mrml.targets import Target
from MedPerSAMLib.mrml.undo import UndoHistory

NO_STEP = "There is no propagation to undo; one into a new segmentation is taken back by Discard, or by deleting that."
CHANGED = "The segmentation was drawn in since the {} began; press Discard, or Undo in Segment Editor."
LOST = (
    "Segment Editor shows another segmentation by now, which ended its history; press Discard while it can be pressed."
)
NOT_UNDONE = "There is no undone propagation to bring back."


class UndoStep:
    """Saves the segmentation as it is before a run.

    Args:
        history: where it is saved.
        segmentation: will be written.
        volume: the grey volume.
        what: for people.

    Attributes:
        targets: the segments that the run wrote; set at its end.
    """

    def __init__(
        self,
        history: UndoHistory,
        segmentation: slicer.vtkMRMLSegmentationNode,
        volume: slicer.vtkMRMLScalarVolumeNode,
        what: str = "propagation",
    ) -> None:
        self.what = what
        self.targets: tuple[Target, ...] = ()
        self._history, self._segmentation = history, segmentation
        self._state: tuple | None = None
        self._undone = self._ended = self._drawn_in = False
        history.save(segmentation, volume)

    def begin(self) -> None:
        """Everything is ready to be written: from here on, what the run does not write is somebody else's."""
        self._state = self._look()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Around each change that the run makes: what changes between two of them was drawn by somebody else."""
        self._drawn_in |= self._state != self._look()
        yield
        self._state = self._look()

    def close(self, targets: tuple[Target, ...]) -> None:
        """The run has come to its end, and wrote ``targets``."""
        self.targets, self._ended = targets, True

    @property
    def undo_reason(self) -> str:
        """Why it cannot be taken back; empty where it can."""
        if not self._ended or self._undone or self._segmentation.GetScene() is None:
            return NO_STEP
        if self._drawn_in or self._state != self._look():
            return CHANGED.format(self.what)
        return "" if self._history.can_undo(self._segmentation) else LOST

    @property
    def redo_reason(self) -> str:
        """Why it cannot be brought back; empty where it can."""
        if not self._undone or self._segmentation.GetScene() is None or self._state != self._look():
            return NOT_UNDONE
        return "" if self._history.can_redo(self._segmentation) else LOST

    def undo(self) -> bool:
        """Take the run back; False where that did not work."""
        return not self.undo_reason and self._move(self._history.undo, True)

    def redo(self) -> bool:
        """Bring the run back; False where that did not work."""
        return not self.redo_reason and self._move(self._history.redo, False)

    def _move(self, move, undone: bool) -> bool:
        before = self._look()
        move(self._segmentation)
        self._state = self._look()
        if self._state == before:
            self._ended = False  # the history knows nothing of it any more
            return False
        self._undone = undone
        return True

    def _look(self) -> tuple:
        """Changes with every voxel that anyone draws in the segmentation."""
        content, looks = self._segmentation.GetSegmentation(), []
        for segment_id in segment_ids(self._segmentation):
            segment = content.GetSegment(segment_id)
            labels = stored_labels(segment)
            looks.append((segment_id, segment.GetLabelValue(), None if labels is None else labels.GetMTime()))
        return tuple(looks)
