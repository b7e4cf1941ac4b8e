"""What the user chose, and what a choice brings with it."""

from __future__ import annotations

import sys
from typing import Protocol

import slicer

from MedPerSAMLib.errors import MedPerSAMError


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
    """Choose what Segment Editor shows; several checked segments stay checked while its segment is among them."""
    volume, segmentation = editor.GetSourceVolumeNode(), editor.GetSegmentationNode()
    if volume is not None:
        parameters.volume = volume
    if segmentation is None:
        return
    same, segment = parameters.segmentation is segmentation, editor.GetSelectedSegmentID()
    parameters.segmentation = segmentation
    if segment and not (same and segment in parameters.segmentIDs):
        parameters.segmentIDs = [segment]


def tidy_choices(parameters: Parameters | None, slice_count: int) -> None:
    """Drop segments that are gone, and let a fresh range span all slices."""
    if parameters is None or parameters.segmentation is None:
        return
    content = parameters.segmentation.GetSegmentation()
    there = [content.GetNthSegmentID(i) for i in range(content.GetNumberOfSegments())]
    checked = [segment_id for segment_id in parameters.segmentIDs if segment_id in there]
    if parameters.segmentIDs and not checked and len(there) == 1:
        checked = there  # another segmentation was chosen; an empty choice is the user's own and stays
    if checked != list(parameters.segmentIDs):
        parameters.segmentIDs = checked
    if parameters.limitRange and parameters.lastSlice == 0 and slice_count:
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


def device_line(parameters: Parameters | None) -> str:
    """What will be used and why; torch is not imported for it, because that takes seconds on the main thread."""
    requested = "auto" if parameters is None else parameters.device
    if "torch" not in sys.modules:
        promise = {"auto": "A GPU is used if PyTorch finds one that works, else the CPU", "cpu": "The CPU is used"}
        return f"{promise.get(requested, f'{requested} is used')}; checked when a run starts."
    from MedPerSAMLib.services.models.load import choose_device

    try:
        return choose_device(requested)[1]
    except MedPerSAMError as error:
        return str(error)
