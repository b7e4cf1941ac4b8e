"""The Segment Editor module that is open beside ours: its node, its widget, and our effect in its toolbar."""

from __future__ import annotations

import slicer

_SINGLETON = "SegmentEditor"


def editor_node() -> slicer.vtkMRMLSegmentEditorNode | None:
    """The node that Segment Editor keeps its choices in; None before it was first opened."""
    return slicer.mrmlScene.GetSingletonNode(_SINGLETON, "vtkMRMLSegmentEditorNode")


def editor_widget():
    """Segment Editor's qMRMLSegmentEditorWidget, made here if the module was not opened yet; its undo history is the one
    the user will see."""
    return slicer.modules.segmenteditor.widgetRepresentation().self().editor


def register_effect(path: str) -> None:
    """Put the scripted effect of that file into Segment Editor's toolbar."""
    import qSlicerSegmentationsEditorEffectsPythonQt as effects

    instance = effects.qSlicerSegmentEditorScriptedEffect(None)
    instance.setPythonSource(path.replace("\\", "/"))
    instance.self().register()
