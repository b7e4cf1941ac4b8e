"""What the user chose, and what a choice brings with it."""

from __future__ import annotations

from typing import Protocol

import slicer

from MedPerSAMLib.mrml.segment_reader import made_for
from MedPerSAMLib.services.models.load import choose_device, told_device


class Parameters(Protocol):
    """What the user chose: the module's parameter node, or anything with these fields."""

    volume: slicer.vtkMRMLScalarVolumeNode | None
    segmentation: slicer.vtkMRMLSegmentationNode | None
    segmentIDs: list[str]
    method: str
    model: str
    device: str
    target: str
    limitRange: bool
    firstSlice: int
    lastSlice: int
    keepFinished: bool
    learner: str


def follow_editor(parameters: Parameters, editor: slicer.vtkMRMLSegmentEditorNode) -> None:
    """Choose what Segment Editor shows; several checked segments stay checked while its segment is among them.

    The empty segmentation that Segment Editor makes when it is opened is no choice of the user's.
    """
    volume, segmentation = editor.GetSourceVolumeNode(), editor.GetSegmentationNode()
    if volume is not None:
        parameters.volume = volume
    if segmentation is None or not segmentation.GetSegmentation().GetNumberOfSegments():
        return
    same, segment = parameters.segmentation is segmentation, editor.GetSelectedSegmentID()
    parameters.segmentation = segmentation
    if segment and not (same and segment in parameters.segmentIDs):
        parameters.segmentIDs = [segment]


def fill_empty(parameters: Parameters, scene: slicer.vtkMRMLScene) -> None:
    """Where nothing is chosen yet: the volume in the slice views, else the first; and its first segmentation."""
    if parameters.volume is None:
        volumes = _visible(scene, "vtkMRMLScalarVolumeNode")
        shown = [view.GetBackgroundVolumeID() for view in _nodes(scene, "vtkMRMLSliceCompositeNode")]
        volume = next((node for name in shown for node in volumes if node.GetID() == name), next(iter(volumes), None))
        if volume is not None:
            parameters.volume = volume
    if parameters.segmentation is None:
        nodes = _visible(scene, "vtkMRMLSegmentationNode")
        segmentation = next((node for node in nodes if _drawn_on(node, parameters.volume)), None)
        if segmentation is not None:
            parameters.segmentation = segmentation


def tidy_range(parameters: Parameters | None, slice_count: int) -> None:
    """Let a fresh range span all slices."""
    if parameters is not None and parameters.limitRange and parameters.lastSlice == 0 and slice_count:
        parameters.lastSlice = slice_count - 1


def limit_range(parameters: Parameters, here: int, first: bool, slice_count: int) -> None:
    """Let the range begin or end at slice ``here``; its other end moves along where it would lie beyond."""
    if not parameters.limitRange:
        parameters.firstSlice, parameters.lastSlice = 0, slice_count - 1
        parameters.limitRange = True
    if first:
        parameters.firstSlice, parameters.lastSlice = here, max(here, parameters.lastSlice)
    else:
        parameters.firstSlice, parameters.lastSlice = min(here, parameters.firstSlice), here


def device_line(parameters: Parameters | None, too_large: bool = False) -> str:
    """What will be used and why, as far as the background has found out: on the main thread PyTorch is asked nothing, which
    may take seconds. ``too_large`` says that an earlier run with these choices has found the GPU's memory too small."""
    if too_large:
        return "The CPU is used because the GPU's memory was not enough for this model; a smaller one may fit."
    requested = "auto" if parameters is None else parameters.device
    if requested == "cpu":
        return choose_device(requested)[1]
    promise = "A GPU is used if PyTorch finds one that works, else the CPU" if requested == "auto" else f"{requested} is used"
    return told_device(requested) or f"{promise}; checked when a run starts."


def _nodes(scene: slicer.vtkMRMLScene, kind: str) -> list:
    """The scene's nodes of exactly that class, in the order they were added."""
    nodes = scene.GetNodesByClass(kind)
    nodes.UnRegister(None)
    found = [nodes.GetItemAsObject(i) for i in range(nodes.GetNumberOfItems())]
    return [node for node in found if node.GetClassName() == kind]


def _visible(scene: slicer.vtkMRMLScene, kind: str) -> list:
    """Those that the user can choose."""
    return [node for node in _nodes(scene, kind) if not node.GetHideFromEditors()]


def _drawn_on(segmentation: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode | None) -> bool:
    """Whether it has segments, and no other volume was it made for: an Apply must not go into a finished case."""
    return bool(segmentation.GetSegmentation().GetNumberOfSegments()) and made_for(segmentation) in (None, volume)
