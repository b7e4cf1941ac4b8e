"""STAND-IN for Slicer's Segment Editor module, whose widget and node are made when somebody first asks for the widget."""

from __future__ import annotations

import slicer

EFFECT_NAME = "Propagate slice"


class Editor:
    """STAND-IN for qMRMLSegmentEditorWidget: its node, one history of undo steps, and the names of its effects."""

    def __init__(self, node) -> None:
        # Not at file scope: a test of the installed module puts these stand-ins in place before its library is found.
        from MedPerSAMLib.mrml.undo import LogicUndo

        self.node, self.effects, self._history = node, {EFFECT_NAME: object()}, LogicUndo()

    def setSegmentationNode(self, segmentation) -> None:
        self.node.SetAndObserveSegmentationNode(segmentation)
        self.node.SetSelectedSegmentID(segmentation.GetSegmentation().GetNthSegmentID(0))

    def setSourceVolumeNode(self, volume) -> None:
        self.node.SetAndObserveSourceVolumeNode(volume)

    def segmentationNode(self):
        return self.node.GetSegmentationNode()

    def effectByName(self, name: str):
        return self.effects.get(name)

    def saveStateForUndo(self) -> None:
        self._history.save(self.node.GetSegmentationNode(), self.node.GetSourceVolumeNode())

    def forget(self) -> None:
        """Lose the history, as the real one does when it shows another segmentation."""
        self._history.clear()

    def undo(self) -> None:
        self._history.undo(self.node.GetSegmentationNode())

    def redo(self) -> None:
        self._history.redo(self.node.GetSegmentationNode())


class SegmentEditorModule:
    """STAND-IN for ``slicer.modules.segmenteditor``."""

    def __init__(self) -> None:
        self.editor = None

    def widgetRepresentation(self):
        if self.editor is None:
            node = slicer.vtkMRMLSegmentEditorNode()
            node.SetSingletonTag("SegmentEditor")
            self.editor = Editor(slicer.mrmlScene.AddNode(node))
        return self

    def self(self):
        return self


def install() -> None:
    """Put a module that was not opened yet where Slicer has it."""
    kept = slicer.mrmlScene.GetSingletonNode("SegmentEditor", "vtkMRMLSegmentEditorNode")
    if kept is not None:
        slicer.mrmlScene.RemoveNode(kept)
    slicer.modules.segmenteditor = SegmentEditorModule()
