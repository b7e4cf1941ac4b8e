"""The module's self test: each step takes a logic and an empty scene, and raises where something is wrong.

The same steps run in Slicer (``MedPerSAMTest``) and in pytest on the slicer-core wheel.
"""

from __future__ import annotations

import numpy as np
import slicer
import vtk

from MedPerSAMLib.core.progress import CallbackProgress
from MedPerSAMLib.errors import Cancelled
from MedPerSAMLib.mrml.logic import PropagationLogic
from MedPerSAMLib.mrml.sample_data import load_sample
from MedPerSAMLib.mrml.segment_reader import read_mask

FAST = {"method": "copy", "device": "cpu"}
"""Enough for writing and taking back; the last step runs the real method."""


def _first_segment(segmentation) -> str:
    return segmentation.GetSegmentation().GetNthSegmentID(0)


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise AssertionError(sentence)


def undo(logic: PropagationLogic) -> None:
    """Undo takes a propagation back in one step."""
    volume, segmentation = load_sample()
    segment = _first_segment(segmentation)
    before = read_mask(segmentation, segment, volume)
    logic.process(volume, segmentation, [segment], wanted=range(18, 26), **FAST)
    _require(not np.array_equal(read_mask(segmentation, segment, volume), before), "nothing was propagated")
    _require(logic.undo.undo(segmentation), "there was nothing to undo")
    _require(np.array_equal(read_mask(segmentation, segment, volume), before), "Undo left something behind")


def cancel(logic: PropagationLogic) -> None:
    """Cancel leaves the segment as it was."""
    volume, segmentation = load_sample()
    segment = _first_segment(segmentation)
    before, seen = read_mask(segmentation, segment, volume), []
    progress = CallbackProgress(on_slice=lambda *_: seen.append(1), is_cancelled=lambda: len(seen) >= 2)
    try:
        logic.process(volume, segmentation, [segment], progress, **FAST)
    except Cancelled:
        _require(bool(seen), "no slice was shown before the cancel")
    else:
        raise AssertionError("the cancel was not noticed")
    _require(np.array_equal(read_mask(segmentation, segment, volume), before), "Cancel left something behind")


def discard(logic: PropagationLogic) -> None:
    """Discard removes the whole result."""
    volume, segmentation = load_sample()
    segment = _first_segment(segmentation)
    before = read_mask(segmentation, segment, volume)
    logic.process(volume, segmentation, [segment], **FAST)
    logic.discard()
    _require(np.array_equal(read_mask(segmentation, segment, volume), before), "Discard left something behind")


def transforms(logic: PropagationLogic) -> None:
    """Volume and segmentation under different transforms: the result lies where the volume has it."""
    volume, segmentation = load_sample()
    segment = _first_segment(segmentation)
    parent = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "shift and turn")
    move = vtk.vtkTransform()
    move.Translate(8, -3, 5)
    move.RotateZ(10)
    parent.SetMatrixTransformToParent(move.GetMatrix())
    for node in (volume, segmentation):
        node.SetAndObserveTransformNodeID(parent.GetID())
    expected = logic.process(volume, segmentation, [segment], **FAST)[segment]
    _require(np.array_equal(read_mask(segmentation, segment, volume), expected.mask), "the result was shifted")


def phantom(logic: PropagationLogic) -> None:
    """The generated abdomen: one annotated slice gives the whole organ."""
    import SimpleITK

    from MedPerSAMLib.sample import sample_paths

    volume, segmentation = load_sample()
    segment = _first_segment(segmentation)
    name = segmentation.GetSegmentation().GetSegment(segment).GetName()
    truth = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(sample_paths().truth)))
    drawn = read_mask(segmentation, segment, volume)
    value = int(np.median(truth[drawn]))
    result = logic.process(volume, segmentation, [segment], device="cpu")[segment]
    others = ~drawn.any(axis=(1, 2))
    found, wanted = result.mask[others], (truth == value)[others]
    dice = 2 * (found & wanted).sum() / max(1, found.sum() + wanted.sum())
    _require(dice > 0.8, f"{name}: Dice {dice:.2f} on the sample, expected more than 0.8")


STEPS = (undo, cancel, discard, transforms, phantom)
"""In the order of running."""
