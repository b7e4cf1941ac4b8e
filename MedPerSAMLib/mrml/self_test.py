"""The module's self test: each step takes a logic and an empty scene, and raises where something is wrong.

The same steps run in Slicer (``MedPerSAMTest``) and in pytest on the slicer-core wheel. What needs Slicer's main window is
in ``self_test_window``.
"""

from __future__ import annotations

import numpy as np
import slicer
import vtk

from MedPerSAMLib.core.progress import CallbackProgress, Progress
from MedPerSAMLib.errors import Cancelled
from MedPerSAMLib.mrml.annotated_slices import find_annotation
from MedPerSAMLib.mrml.geometry import matrix_array, volume_to_world
from MedPerSAMLib.mrml.logic import DEFAULT_METHOD, PropagationLogic
from MedPerSAMLib.mrml.sample_data import load_sample
from MedPerSAMLib.mrml.segment_reader import read_mask
from MedPerSAMLib.mrml.segment_writer import write_slice
from MedPerSAMLib.mrml.shared_grid import label_array
from MedPerSAMLib.mrml.snap import plan_snap
from MedPerSAMLib.sample import REFERENCE_SLICE

FAST = {"method": "copy", "device": "cpu"}
"""Enough for writing and taking back; the last step runs the real method."""


def _first_segment(segmentation) -> str:
    return segmentation.GetSegmentation().GetNthSegmentID(0)


def _centre(mask: np.ndarray, first=(0, 0, 0)) -> np.ndarray:
    """Mean (i, j, k, 1) of a (k, j, i) mask whose corner is voxel ``first`` (i, j, k)."""
    return np.array([*(np.argwhere(mask).mean(axis=0)[::-1] + first), 1.0])


def _transform(name: str, move) -> slicer.vtkMRMLLinearTransformNode:
    transform, node = vtk.vtkTransform(), slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    move(transform)
    node.SetMatrixTransformToParent(transform.GetMatrix())
    return node


def require(condition: bool, sentence: str) -> None:
    """Raise AssertionError with the sentence unless the condition holds."""
    if not condition:
        raise AssertionError(sentence)


def sample(_logic: PropagationLogic) -> None:
    """The sample loads, and its annotated slice is found."""
    volume, segmentation = load_sample()
    found = find_annotation(segmentation, _first_segment(segmentation), volume)
    require(list(found.masks) == [REFERENCE_SLICE], f"slices {list(found.masks)} were found, not {REFERENCE_SLICE}")


def undo(logic: PropagationLogic) -> None:
    """Undo takes a propagation back in one step."""
    volume, segmentation = load_sample()
    segment = _first_segment(segmentation)
    before = read_mask(segmentation, segment, volume)
    logic.process(volume, segmentation, [segment], wanted=range(18, 26), **FAST)
    require(not np.array_equal(read_mask(segmentation, segment, volume), before), "nothing was propagated")
    require(logic.undo.undo(segmentation), "there was nothing to undo")
    require(np.array_equal(read_mask(segmentation, segment, volume), before), "Undo left something behind")


def cancel(logic: PropagationLogic) -> None:
    """Cancel leaves the segment as it was."""
    volume, segmentation = load_sample()
    segment = _first_segment(segmentation)
    before, seen = read_mask(segmentation, segment, volume), []
    progress = CallbackProgress(on_slice=lambda *_: seen.append(1), is_cancelled=lambda: len(seen) >= 2)
    try:
        logic.process(volume, segmentation, [segment], progress, **FAST)
    except Cancelled:
        require(bool(seen), "no slice was shown before the cancel")
    else:
        raise AssertionError("the cancel was not noticed")
    require(np.array_equal(read_mask(segmentation, segment, volume), before), "Cancel left something behind")


def discard(logic: PropagationLogic) -> None:
    """Discard removes the whole result."""
    volume, segmentation = load_sample()
    segment = _first_segment(segmentation)
    before = read_mask(segmentation, segment, volume)
    logic.process(volume, segmentation, [segment], **FAST)
    logic.discard()
    require(np.array_equal(read_mask(segmentation, segment, volume), before), "Discard left something behind")


def snap(logic: PropagationLogic) -> None:
    """Snap turns a rectangle into the organ, and Undo brings the rectangle back."""
    volume, segmentation = load_sample()
    segment = _first_segment(segmentation)
    organ = read_mask(segmentation, segment, volume)[REFERENCE_SLICE]
    shape, rows, columns = np.zeros_like(organ), *(np.flatnonzero(organ.any(axis)) for axis in (1, 0))
    shape[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    write_slice(segmentation, segment, volume, 0, REFERENCE_SLICE, shape)
    plan = plan_snap(volume, segmentation, segment, (DEFAULT_METHOD, None, "cpu"), slicer.mrmlScene)
    plan.write(plan.compute(logic.sessions, Progress()), logic.undo)
    found = read_mask(segmentation, segment, volume)[REFERENCE_SLICE]
    dice = 2 * (found & organ).sum() / (found.sum() + organ.sum())
    require(dice > 0.85, f"Dice {dice:.2f} with what was drawn by hand, expected more than 0.85")
    require(logic.undo.undo(segmentation), "there was nothing to undo")
    back = read_mask(segmentation, segment, volume)[REFERENCE_SLICE]
    require(np.array_equal(back, shape), "Undo did not bring the rectangle back")


def transforms(logic: PropagationLogic) -> None:
    """Volume and segmentation under different transforms: the result lies where the volume has it."""
    volume, segmentation = load_sample()
    segment, spacing = _first_segment(segmentation), volume.GetSpacing()
    turn = _transform("turn", lambda move: move.RotateZ(10))
    # Whole voxels, so that the grids still meet: the drawn slice is the volume's slice before now.
    shift = _transform("shift", lambda move: move.Translate(6 * spacing[0], -4 * spacing[1], spacing[2]))
    shift.SetAndObserveTransformNodeID(turn.GetID())
    segmentation.SetAndObserveTransformNodeID(turn.GetID())
    volume.SetAndObserveTransformNodeID(shift.GetID())
    result = logic.process(volume, segmentation, [segment], **FAST)[segment]
    require(np.array_equal(read_mask(segmentation, segment, volume), result.mask), "the result was shifted")
    require(result.mask[REFERENCE_SLICE - 1].any(), f"slice {REFERENCE_SLICE - 1}, the drawn one, is empty")
    stored, image_to_world = slicer.vtkOrientedImageData(), vtk.vtkMatrix4x4()
    # Slicer's own copy, in the segmentation's coordinates, so that no code of ours tells where it lies.
    segmentation.GetBinaryLabelmapRepresentation(segment, stored)
    stored.GetImageToWorldMatrix(image_to_world)
    to_world = matrix_array(turn.GetMatrixTransformToParent()) @ matrix_array(image_to_world)
    in_world = to_world @ _centre(label_array(stored) != 0, stored.GetExtent()[::2])
    expected = volume_to_world(volume) @ _centre(result.mask)
    words = f"the segment's centre lies at {np.round(in_world, 1)}, the result's at {np.round(expected, 1)}"
    require(np.allclose(in_world, expected, atol=0.1), words)


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
    require(dice > 0.8, f"{name}: Dice {dice:.2f} on the sample, expected more than 0.8")


READING = (sample,)
"""Steps that need no package besides Slicer's own."""

COMPUTING = (undo, cancel, discard, snap, transforms, phantom)
"""Steps that need all packages."""

STEPS = READING + COMPUTING
"""In the order of running."""
