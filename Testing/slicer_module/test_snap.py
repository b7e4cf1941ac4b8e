"""Snap on real nodes: what is read, what is written, what Undo brings back, and what is told where it cannot be done."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from panel_case import Panel

from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.mrml.panel_state import FAILED, IDLE
from MedPerSAMLib.mrml.segment_writer import write_slice
from MedPerSAMLib.mrml.snap import CHANGED
from MedPerSAMLib.mrml.snap_presenter import NOTHING_DRAWN, SEVERAL
from MedPerSAMLib.services.jobs import FINISHED


@pytest.fixture
def panel(scene, grey, ball, tmp_path):
    """A presenter whose liver is a rectangle on slice 9."""
    panel = Panel(scene, grey, ball, tmp_path)
    write_slice(panel.segmentation, "Liver", panel.volume, 0, 9, box_of(ball[9]))
    panel.presenter.inputs_changed()
    return panel


def box_of(mask: np.ndarray) -> np.ndarray:
    shape = np.zeros_like(mask)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    shape[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    return shape


def snap(panel: Panel) -> None:
    """Press, compute what was submitted, and let the result in."""
    panel.presenter.snap.press()
    panel.jobs.put(FINISHED, panel.jobs.submitted[-1](Progress()))
    panel.tick(2)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_a_rectangle_becomes_the_structure_and_undo_brings_it_back(panel):
    before = panel.mask()
    assert not panel.state.snap_reason
    snap(panel)
    assert panel.state.phase == IDLE and "Liver, slice 9 is outlined" in panel.state.status
    after = panel.mask()
    assert np.array_equal(np.delete(after, 9, 0), np.delete(before, 9, 0)), "other slices stay"
    assert dice(after[9], panel.ball[9]) > max(0.9, dice(before[9], panel.ball[9]))
    assert panel.state.found == "Liver: annotated on axial slice 9; propagates to 0-19.", "it counts as drawn by hand"
    panel.presenter.undo()
    assert np.array_equal(panel.mask(), before) and panel.state.status == "The snap is undone; Redo brings it back."
    panel.presenter.redo()
    assert np.array_equal(panel.mask(), after) and panel.state.status == "The snap is back."


def test_a_result_that_waits_for_a_decision_stays(panel):
    panel.presenter.press_main()
    panel.jobs.put_result("Liver", np.roll(panel.ball, 2, axis=2))
    panel.tick(3)
    found = panel.mask()
    found[14] = box_of(panel.ball[14])
    write_slice(panel.segmentation, "Liver", panel.volume, 0, 14, found[14])
    write_slice(panel.segmentation, "Liver", panel.volume, 0, 9, np.zeros_like(panel.ball[9]))
    panel.presenter.inputs_changed()
    snap(panel)
    after = panel.mask()
    assert dice(after[14], panel.ball[14]) > 0.85 and not np.array_equal(after[14], found[14])
    assert panel.state.can_decide
    panel.presenter.discard()
    assert np.array_equal(panel.mask()[14], after[14]), "what was snapped is the user's"


def test_other_segments_are_spared(panel):
    other = panel.segmentation.GetSegmentation().AddEmptySegment("Kidney", "Kidney")
    corner = panel.ball[9] & (np.arange(28) < 14)
    write_slice(panel.segmentation, "Liver", panel.volume, 0, 9, box_of(panel.ball[9]) & ~corner)
    write_slice(panel.segmentation, other, panel.volume, 0, 9, corner)
    panel.presenter.inputs_changed()
    snap(panel)
    assert not (panel.mask()[9] & corner).any() and panel.mask()[9].any()


def test_what_is_drawn_meanwhile_stays(panel):
    panel.presenter.snap.press()
    content = panel.jobs.submitted[-1](Progress())
    write_slice(panel.segmentation, "Liver", panel.volume, 0, 9, panel.ball[9])
    panel.jobs.put(FINISHED, content)
    panel.tick(2)
    assert panel.state.phase == FAILED and panel.state.status == CHANGED and np.array_equal(panel.mask()[9], panel.ball[9])


def test_a_segment_that_goes_meanwhile_is_named(panel):
    panel.presenter.snap.press()
    content = panel.jobs.submitted[-1](Progress())
    panel.segmentation.GetSegmentation().RemoveSegment("Liver")
    panel.jobs.put(FINISHED, content)
    panel.tick(2)
    assert panel.state.phase == FAILED and "no segment 'Liver'" in panel.state.status


def test_the_shown_one_of_several_drawn_slices_is_meant(panel):
    write_slice(panel.segmentation, "Liver", panel.volume, 0, 12, box_of(panel.ball[12]))
    panel.presenter.inputs_changed()
    before = panel.mask()
    panel.presenter.snap.press()
    assert panel.state.phase == FAILED and "drawn on the slices 9, 12" in panel.state.status
    view = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceNode")
    view.SetOrientationToAxial()
    view.JumpSliceByOffsetting(0, 0, 12 * 2.5)
    snap(panel)
    assert np.array_equal(panel.mask()[9], before[9]) and not np.array_equal(panel.mask()[12], before[12])


def test_why_it_cannot_be_pressed(panel):
    panel.segmentation.GetSegmentation().AddEmptySegment("Kidney", "Kidney")
    panel.parameters.segmentIDs = ["Liver", "Kidney"]
    panel.presenter.inputs_changed()
    assert panel.state.snap_reason == SEVERAL
    panel.parameters.segmentIDs = ["Kidney"]
    panel.presenter.inputs_changed()
    assert panel.state.snap_reason == NOTHING_DRAWN
    panel.parameters.segmentIDs, panel.parameters.model = ["Liver"], "vit_b"
    panel.presenter.inputs_changed()
    assert "press Download or Import" in panel.state.snap_reason
    panel.presenter.snap.press()
    assert not panel.jobs.submitted
    panel.parameters.model = "tiny"
    panel.presenter.inputs_changed()
    panel.presenter.press_main()
    assert "propagation is running" in panel.state.snap_reason
