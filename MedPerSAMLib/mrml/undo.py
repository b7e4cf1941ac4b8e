"""One undo step per propagation, in whichever editor's history the user will press Undo."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import slicer


class UndoHistory(Protocol):
    """Where a state is saved before the first voxel changes."""

    def save(self, segmentation: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode) -> bool:
        """Save the segmentation as it is; whether that worked."""

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

    def undo(self, segmentation: slicer.vtkMRMLSegmentationNode) -> bool:
        """Go back one step; False if there is none."""
        kept = self._logics.get(segmentation.GetID())
        if kept is None or not kept[0].CanUndo():
            return False
        kept[0].Undo()
        return True

    def redo(self, segmentation: slicer.vtkMRMLSegmentationNode) -> bool:
        """Go forward one step; False if there is none."""
        kept = self._logics.get(segmentation.GetID())
        if kept is None or not kept[0].CanRedo():
            return False
        kept[0].Redo()
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

    def save(self, segmentation: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode) -> bool:
        """Save the segmentation as it is; an editor that shows nothing, or an empty one, shows it from now on."""
        editor = self._find_editor()
        shown = editor.segmentationNode()
        if shown is None or not shown.GetSegmentation().GetNumberOfSegments():
            editor.setSegmentationNode(segmentation)
            editor.setSourceVolumeNode(volume)
        elif shown is not segmentation:
            return self.otherwise.save(segmentation, volume)
        editor.saveStateForUndo()
        return True

    def clear(self) -> None:
        """Forget the histories that are ours; the editor looks after its own."""
        self.otherwise.clear()
