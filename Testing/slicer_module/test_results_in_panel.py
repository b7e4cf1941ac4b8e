"""What the panel says of a run while it goes on, and which result it shows after each end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fakes import FakeDependencies
from panel_case import Panel

from MedPerSAMLib.core.task import Propagation
from MedPerSAMLib.mrml.confidence_nodes import ConfidenceNodes
from MedPerSAMLib.mrml.panel_state import FAILED, FINISHED, IDLE, LOADING, RUNNING
from MedPerSAMLib.mrml.segment_writer import write_slice
from MedPerSAMLib.services.jobs import CANCELLED, SLICE, STEP
from MedPerSAMLib.services.jobs import FAILED as JOB_FAILED
from MedPerSAMLib.services.propagation_work import STRUCTURES


@pytest.fixture
def panel(scene, grey, ball, tmp_path):
    return Panel(scene, grey, ball, tmp_path)


@pytest.fixture
def two(panel):
    """The same with a second drawn and checked segment."""
    panel.segmentation.GetSegmentation().AddEmptySegment("Kidney", "Kidney")
    write_slice(panel.segmentation, "Kidney", panel.volume, 0, 9, panel.ball[9])
    panel.parameters.segmentIDs = ["Liver", "Kidney"]
    panel.presenter.inputs_changed()
    return panel


def shown(panel) -> tuple:
    """What the panel shows of a result."""
    state, presenter = panel.state, panel.presenter
    return state.result, state.can_navigate, state.table, presenter.navigator, sorted(presenter.results)


@pytest.mark.parametrize("end", ["cancel", "failure"])
def test_first_result_is_still_shown_after_a_correction_that_did_not_finish(panel, end):
    panel.run()
    panel.presenter.go_to_worst()
    first, position = shown(panel), panel.state.position
    assert first[0] and first[1]
    panel.presenter.press_main()
    panel.jobs.put(SLICE, ("Liver", 12, panel.ball[11], 0.7))
    panel.tick()
    if end == "cancel":
        panel.presenter.press_main()
        panel.jobs.put(CANCELLED)
    else:
        panel.jobs.put(JOB_FAILED, ("Memory ran out; choose a smaller model.", "Traceback"))
    panel.tick()
    assert panel.state.phase == (IDLE if end == "cancel" else FAILED)
    assert shown(panel) == first and panel.state.position == position and panel.state.can_decide
    panel.run()
    assert panel.presenter.navigator is not first[3]
    panel.presenter.discard()
    assert shown(panel) == ("", False, "", None, [])


def test_live_slices_are_told_with_their_confidence(panel):
    panel.presenter.press_main()
    panel.jobs.put(STEP, ("following the structure", 3, 20))
    panel.jobs.put(SLICE, ("Liver", 12, panel.ball[12], 0.834))
    panel.tick()
    assert panel.state.status == "Following the structure: 4 of 20 slices; slice 12: confidence 0.83"
    panel.jobs.put(STEP, ("following the structure", 4, 20))
    panel.jobs.put(SLICE, ("Liver", 9, panel.ball[9], 0.1))
    panel.tick()
    assert panel.state.status == "Following the structure: 5 of 20 slices; slice 12: confidence 0.83", "9 was drawn"
    assert not any("confidence" in line for line in panel.state.log)


def test_several_structures_are_counted_and_the_whole_time_is_told(two):
    two.presenter.press_main()
    assert "Kidney" in two.state.found
    seen = []
    for number, name in enumerate(("Liver", "Kidney", "Spleen")):
        two.jobs.put(STEP, (STRUCTURES, number, 3))
        for done in (0, 5):
            two.jobs.put(STEP, (f"{name} ({number + 1} of 3): following the structure", done, 10))
            two.tick()
            seen.append((two.state.status, round(two.state.progress)))
            two.clock.now += 15
    assert seen[0] == ("Liver (1 of 3): following the structure: 1 of 10 slices", 0)
    assert seen[2] == ("Kidney (2 of 3): following the structure: 1 of 10 slices; about 60 s left for all", 33)
    assert seen[3] == (
        "Kidney (2 of 3): following the structure: 6 of 10 slices, 15 s left; about 45 s left for all",
        50,
    )
    assert seen[5] == (
        "Spleen (3 of 3): following the structure: 6 of 10 slices, 15 s left; about 15 s left for all",
        83,
    )
    assert [percent for _, percent in seen] == sorted(percent for _, percent in seen), "the bar never goes back"
    two.jobs.put(SLICE, ("Kidney", 12, two.ball[12], 0.5))
    two.tick()
    assert two.state.status.endswith("; Kidney, slice 12: confidence 0.50") and two.state.phase == RUNNING


def test_slice_phases_are_those_of_the_methods():
    from pathlib import Path

    from MedPerSAMLib.mrml.remaining_time import SLICE_PHASES

    root = Path(__file__).resolve().parents[2] / "MedPerSAMLib"
    code = "\n".join(p.read_text(encoding="utf-8") for d in ("core", "mrml") for p in (root / d).rglob("*.py"))
    code = code.replace((root / "mrml" / "remaining_time.py").read_text(encoding="utf-8"), "")
    assert [phase for phase in SLICE_PHASES if f'"{phase}"' not in code] == []


def test_a_structure_that_was_found_nowhere_is_told(panel):
    panel.presenter.press_main()
    nowhere, count = np.zeros_like(panel.ball), len(panel.ball)
    result = Propagation(nowhere, np.ones(count, np.float32), np.zeros(count, bool), np.ones(count, bool))
    panel.jobs.put("finished", {"Liver": result})
    panel.tick(4)
    assert panel.state.phase == FINISHED and panel.state.result == "Liver: found on no other slice."
    assert not panel.state.can_navigate and panel.state.log[-1].endswith(panel.state.result)


def test_undo_after_the_end_takes_the_result_out_of_the_panel(panel, scene):
    panel.run()
    panel.presenter.go_to_worst()
    panel.logic.undo.undo(panel.segmentation)
    panel.presenter.inputs_changed()
    assert shown(panel) == ("", False, "", None, []) and not panel.state.can_decide
    assert panel.state.phase == IDLE and "undone" in panel.state.status and panel.state.position == ""
    assert scene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 0
    panel.run()
    assert panel.state.can_decide and panel.state.can_navigate


def test_other_structures_stay_when_one_segment_is_removed(two):
    two.presenter.press_main()
    result = two.jobs.put_result("Liver", two.ball)
    two.jobs._news.pop()
    beside = replace(result, mask=np.roll(two.ball, 6, axis=2))  # where they overlap, it yields to the first
    two.jobs.put("finished", {"Liver": result, "Kidney": beside})
    two.tick(4)
    assert sorted(two.presenter.results) == ["Kidney", "Liver"]
    two.segmentation.GetSegmentation().RemoveSegment("Liver")
    two.presenter.inputs_changed()
    assert list(two.presenter.results) == ["Kidney"] and "Liver" not in two.state.result
    assert two.state.can_decide and two.state.can_navigate and two.state.table == "Kidney"


def test_table_is_that_of_the_slice_that_is_shown(two):
    two.presenter.press_main()
    result = two.jobs.put_result("Liver", two.ball)
    two.jobs._news.pop()
    worse = replace(result, confidence=result.confidence / 2)
    two.jobs.put("finished", {"Liver": result, "Kidney": worse})
    two.tick(4)
    assert two.state.table == "Liver" and two.presenter.navigator.table().GetName() == "Liver confidence"
    two.presenter.go_to_worst()
    assert two.state.position.startswith("Kidney, slice")
    assert two.state.table == "Kidney" and two.presenter.navigator.table().GetName() == "Kidney confidence"


def test_an_earlier_result_that_is_accepted_silently_is_told(two):
    two.parameters.segmentIDs = ["Liver"]
    two.presenter.inputs_changed()
    two.run()
    two.parameters.segmentIDs = ["Kidney"]
    two.presenter.inputs_changed()
    two.presenter.press_main()
    assert any("earlier result of Liver counts as accepted" in line for line in two.state.log)


def test_details_of_a_failure_are_in_the_log_of_the_panel(panel):
    panel.presenter.press_main()
    sentence = "The work stopped unexpectedly (RuntimeError: x); the scene is as before, details are in the log."
    panel.jobs.put(JOB_FAILED, (sentence, "Traceback (most recent call last):\n  File x\nRuntimeError: x"))
    panel.tick()
    assert panel.state.status == sentence and panel.state.log[-1].endswith(sentence)
    assert panel.state.log[-4:-1] == ["Traceback (most recent call last):", "  File x", "RuntimeError: x"]


def test_unexpected_error_at_the_end_is_no_result(panel, monkeypatch):
    before = panel.mask()

    def broken(*_arguments):
        raise MemoryError("no room for a table")

    monkeypatch.setattr(ConfidenceNodes, "show", broken)
    panel.run()
    assert panel.state.phase == FAILED and not panel.state.can_decide and np.array_equal(panel.mask(), before)
    assert panel.state.status == (
        "The result could not be shown (MemoryError: no room for a table); details are in the log."
    )
    assert any("Traceback" in line for line in panel.state.log)
    monkeypatch.undo()
    panel.run()
    assert panel.state.phase == FINISHED


def test_a_run_that_cannot_be_taken_back_says_so(panel, scene):
    panel.presenter.press_main()
    panel.jobs.put(SLICE, ("Liver", 12, panel.ball[12], 0.7))
    panel.tick()
    bent = scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "warp")
    panel.segmentation.SetAndObserveTransformNodeID(bent.GetID())
    panel.jobs.put(SLICE, ("Liver", 13, panel.ball[13], 0.7))
    panel.tick()
    assert panel.state.phase == FAILED and panel.state.button == "Propagate"
    assert "not linear" in panel.state.status and "press Undo in Segment Editor" in panel.state.status


def test_unexpected_error_at_the_start_leaves_a_usable_panel(scene, grey, ball, tmp_path, monkeypatch):
    panel = Panel(scene, grey, ball, tmp_path, dependencies=FakeDependencies(["torch"]))

    def broken(*_arguments):
        raise RuntimeError("a library is broken")

    monkeypatch.setattr(panel.logic, "start", broken)
    panel.presenter.press_main()
    assert panel.state.phase == FAILED and panel.state.button_enabled and panel.state.inputs_enabled
    assert "a library is broken" in panel.state.status and any("Traceback" in line for line in panel.state.log)


def test_unexpected_error_of_the_installer_leaves_a_usable_panel(scene, grey, ball, tmp_path):
    dependencies = FakeDependencies(["torch"], RuntimeError("no network"))
    panel = Panel(scene, grey, ball, tmp_path, dependencies=dependencies)
    with pytest.raises(RuntimeError):
        panel.presenter.install()
    assert panel.state.phase == IDLE, "the sections that install by themselves are not left installing"
    panel.presenter.press_main()
    assert panel.state.phase == FAILED and "no network" in panel.state.status and panel.state.button_enabled


def test_model_that_went_away_is_told_in_the_words_of_the_panel(panel, tmp_path):
    file = tmp_path / "mobile_sam.pt"
    with file.open("wb") as out:
        out.truncate(40_728_226)
    panel.parameters.method, panel.parameters.model = "med-persam", "mobile_sam"
    panel.presenter.models.refresh()
    panel.presenter.inputs_changed()
    assert panel.state.ready
    file.unlink()
    panel.presenter.press_main()
    assert panel.state.phase == FAILED and "press Download or Import" in panel.state.status


def test_range_can_be_set_only_once_an_axis_is_known(panel):
    assert panel.state.limit_reason == ""
    panel.parameters.segmentIDs = []
    panel.presenter.inputs_changed()
    assert "Outline a checked segment" in panel.state.limit_reason
    panel.parameters.segmentIDs = ["Liver"]
    panel.presenter.inputs_changed()
    panel.presenter.first_slice_here()
    assert "No slice view" in panel.state.status and not panel.parameters.limitRange


def test_loading_says_nothing_of_slices(panel):
    panel.presenter.press_main()
    panel.jobs.put(STEP, ("loading model", 0, 1))
    panel.tick()
    assert (panel.state.phase, panel.state.status, panel.state.progress) == (LOADING, "Loading model ...", None)


def test_discard_restores_the_surface_that_was_shown(panel):
    import slicer

    panel.segmentation.CreateClosedSurfaceRepresentation()
    name = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    panel.run()
    panel.presenter.discard()
    surface = panel.segmentation.GetSegmentation().GetSegment("Liver").GetRepresentation(name)
    assert surface is not None and surface.GetNumberOfPoints()
    assert np.array_equal(np.flatnonzero(panel.mask().any(axis=(1, 2))), [9])
