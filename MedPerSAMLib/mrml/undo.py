"""One undo step per propagation, in whichever editor's history the user will press Undo."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import slicer


class UndoHistory(Protocol):
    """Where a state is saved before the first voxel changes."""

    def save(self, segmentation: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode) -> bool:
        """Save the segmentation as it is; whether that worked."""

    def can_undo(self, segmentation: slicer.vtkMRMLSegmentationNode) -> bool:
        """Whether there is a step to go back to, as far as that can be told."""

    def can_redo(self, segmentation: slicer.vtkMRMLSegmentationNode) -> bool:
        """Whether there is a step to go forward to, as far as that can be told."""

    def undo(self, segmentation: slicer.vtkMRMLSegmentationNode) -> bool:
        """Go back one step; False if there is none."""

    def redo(self, segmentation: slicer.vtkMRMLSegmentationNode) -> bool:
        """Go forward one step; False if there is none."""

    def clear(self) -> None:
        """Forget all histories, as when the scene closes."""


class LogicUndo:
    """Undo without a window: Slicer's own editor logic, one per segmentation, on an editor node of ours.

    The user's editor node is left alone, because setting a segmentation on it would change what Segment Editor shows.
    """

    def __init__(self) -> None:
        self._logics: dict[str, tuple[slicer.vtkSlicerSegmentEditorLogic, slicer.vtkMRMLSegmentEditorNode]] = {}

    def save(self, segmentation: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode) -> bool:
        """Save the segmentation as it is."""
        return self._logic(segmentation, volume).SaveStateForUndo()

    def can_undo(self, segmentation: slicer.vtkMRMLSegmentationNode) -> bool:
        """Whether there is a step to go back to."""
        kept = self._logics.get(segmentation.GetID())
        return kept is not None and bool(kept[0].CanUndo())

    def can_redo(self, segmentation: slicer.vtkMRMLSegmentationNode) -> bool:
        """Whether there is a step to go forward to."""
        kept = self._logics.get(segmentation.GetID())
        return kept is not None and bool(kept[0].CanRedo())

    def undo(self, segmentation: slicer.vtkMRMLSegmentationNode) -> bool:
        """Go back one step; False if there is none."""
        if not self.can_undo(segmentation):
            return False
        self._logics[segmentation.GetID()][0].Undo()
        return True

    def redo(self, segmentation: slicer.vtkMRMLSegmentationNode) -> bool:
        """Go forward one step; False if there is none."""
        if not self.can_redo(segmentation):
            return False
        self._logics[segmentation.GetID()][0].Redo()
        return True

    def clear(self) -> None:
        """Forget all histories, as when the scene closes."""
        for logic, _ in self._logics.values():
            logic.SetSegmentEditorNode(None)
        self._logics.clear()

    def _logic(self, segmentation, volume) -> slicer.vtkSlicerSegmentEditorLogic:
        key = segmentation.GetID()
        if key not in self._logics:
            logic, node = slicer.vtkSlicerSegmentEditorLogic(), slicer.vtkMRMLSegmentEditorNode()
            node.SetSingletonTag(f"MedPerSAM-{key}")
            node.SetHideFromEditors(True)
            node.SetSaveWithScene(False)
            logic.SetMRMLScene(slicer.mrmlScene)
            # The editor node first: the logic keeps segmentation and volume there.
            logic.SetSegmentEditorNode(slicer.mrmlScene.AddNode(node))
            logic.SetSegmentationNode(segmentation)
            logic.SetSourceVolumeNode(volume)
            self._logics[key] = logic, node
        return self._logics[key][0]


class EditorUndo:
    """Undo in Segment Editor, so that its own Undo button takes the propagation back.

    Args:
        find_editor: gives the module's qMRMLSegmentEditorWidget.
        otherwise: used while it shows another segmentation, whose history would be lost by showing this one.
    """

    def __init__(self, find_editor: Callable[[], object], otherwise: LogicUndo) -> None:
        self._find_editor, self.otherwise = find_editor, otherwise
        self._in_editor: set[str] = set()
        """IDs of the segmentations whose last step is in the editor's history."""

    def save(self, segmentation: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode) -> bool:
        """Save the segmentation as it is; an editor that shows nothing, or an empty one, shows it from now on."""
        editor = self._find_editor()
        shown = editor.segmentationNode()
        if shown is None or not shown.GetSegmentation().GetNumberOfSegments():
            editor.setSegmentationNode(segmentation)
            editor.setSourceVolumeNode(volume)
        elif shown is not segmentation:
            self._in_editor.discard(segmentation.GetID())
            return self.otherwise.save(segmentation, volume)
        self._in_editor.add(segmentation.GetID())
        editor.saveStateForUndo()
        return True

    def can_undo(self, segmentation: slicer.vtkMRMLSegmentationNode) -> bool:
        """Whether there is a step to go back to; the editor does not tell, so there that it shows the segmentation."""
        return self._shown(segmentation) if self._kept_there(segmentation) else self.otherwise.can_undo(segmentation)

    def can_redo(self, segmentation: slicer.vtkMRMLSegmentationNode) -> bool:
        """Whether there is a step to go forward to; told as for :meth:`can_undo`."""
        return self._shown(segmentation) if self._kept_there(segmentation) else self.otherwise.can_redo(segmentation)

    def undo(self, segmentation: slicer.vtkMRMLSegmentationNode) -> bool:
        """Go back one step where the last one was saved; False if there is none."""
        return self._move(segmentation, self.otherwise.undo, lambda editor: editor.undo())

    def redo(self, segmentation: slicer.vtkMRMLSegmentationNode) -> bool:
        """Go forward one step where the last one was saved; False if there is none."""
        return self._move(segmentation, self.otherwise.redo, lambda editor: editor.redo())

    def clear(self) -> None:
        """Forget the histories that are ours; the editor looks after its own."""
        self._in_editor.clear()
        self.otherwise.clear()

    def _move(
        self,
        segmentation: slicer.vtkMRMLSegmentationNode,
        otherwise: Callable[[slicer.vtkMRMLSegmentationNode], bool],
        in_editor: Callable[[object], None],
    ) -> bool:
        if not self._kept_there(segmentation):
            return otherwise(segmentation)
        if not self._shown(segmentation):
            return False
        in_editor(self._find_editor())
        return True

    def _kept_there(self, segmentation: slicer.vtkMRMLSegmentationNode) -> bool:
        return segmentation.GetID() in self._in_editor

    def _shown(self, segmentation: slicer.vtkMRMLSegmentationNode) -> bool:
        return self._find_editor().segmentationNode() is segmentation
