"""The flow of "Learn from finished cases" with fakes: what can be pressed, what is told, what the scene holds."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from learned import case, made_up_profile
from panel_case import Panel

from MedPerSAMLib.core.task import Propagation
from MedPerSAMLib.mrml.panel_state import CANCELLING, FAILED, FINISHED, IDLE, LOADING, RUNNING
from MedPerSAMLib.mrml.segment_reader import read_mask
from MedPerSAMLib.mrml.segment_writer import write_slice
from MedPerSAMLib.services.jobs import CANCELLED, SLICE, SO_FAR, STEP
from MedPerSAMLib.services.jobs import FAILED as JOB_FAILED
from MedPerSAMLib.services.jobs import FINISHED as JOB_FINISHED


class Section(Panel):
    """A panel with one finished case chosen."""

    def __init__(self, scene, grey, ball, tmp_path) -> None:
        super().__init__(scene, grey, ball, tmp_path)
        self.learning = self.presenter.learning
        self.done_volume, self.done_segmentation, _ = case("first")
        self.choose(self.done_volume, self.done_segmentation)

    @property
    def section(self):
        return self.learning.state

    def choose(self, volume, segmentation) -> None:
        self.parameters.volume, self.parameters.segmentation, self.parameters.segmentIDs = volume, segmentation, []
        self.presenter.inputs_changed()

    def fit(self) -> None:
        self.learning.add_case()
        self.learning.press_fit()

    def put_applied(self, labels: np.ndarray, live: int = 3) -> None:
        """A whole application: some live slices, then both structures."""
        results = {}
        for number, name in enumerate(("Liver", "Spleen"), start=1):
            mask = labels == number
            for index in range(live):
                self.jobs.put(SLICE, (name, index, mask[index], 0.5))
            confidence = np.linspace(0.9, 0.3, len(mask)).astype(np.float32)
            results[name] = Propagation(mask, confidence, mask.any(axis=(1, 2)), np.ones(len(mask), bool))
        self.jobs.put(JOB_FINISHED, results)
        self.tick(4)

    def next_case(self):
        """An empty segmentation of the next volume, chosen; a profile is there."""
        self.learning.profile = made_up_profile()
        volume, segmentation, labels = case("next", 2, outlined=False)
        self.choose(volume, segmentation)
        return volume, segmentation, labels


@pytest.fixture
def panel(scene, grey, ball, tmp_path):
    return Section(scene, grey, ball, tmp_path)


def test_nothing_can_be_pressed_without_cases_and_profile(panel):
    assert "Add at least one finished case" in panel.section.fit_reason
    assert panel.section.apply_reason == "Fit or load a profile first." and "No profile yet" in panel.section.profile
    panel.learning.press_fit()
    assert panel.state.phase == FAILED and "no finished case" in panel.section.status and not panel.jobs.submitted


def test_list_of_cases(panel):
    panel.learning.add_case()
    assert panel.section.cases == ("first  +  first organs",) and not panel.section.fit_reason
    panel.learning.add_case()
    assert "in the list already" in panel.section.status and len(panel.section.cases) == 1
    panel.choose(*case("second", 1, ("Liver", "Kidney"))[:2])
    panel.learning.add_case()
    assert "give all cases the same names" in panel.section.status
    panel.choose(*case("third", 1)[:2])
    panel.learning.add_case()
    panel.learning.remove_case(0)
    assert panel.section.cases == ("third  +  third organs",)
    panel.choose(None, None)
    panel.learning.add_case()
    assert "Choose volume and segmentation" in panel.section.status
    panel.learning.remove_case(5)


def test_a_whole_fit(panel, scene):
    panel.fit()
    assert (panel.state.phase, panel.section.fit_button) == (LOADING, "Cancel") and not panel.section.fit_reason
    assert panel.state.button == "Propagate" and not panel.state.button_enabled
    assert "A fit is running" in panel.state.button_tip and "A fit is running" in panel.section.apply_reason
    panel.presenter.press_main()
    assert not panel.jobs.cancels, "the main button does not cancel what it did not start"
    panel.jobs.put(STEP, ("training", 30, 60))
    panel.tick()
    assert panel.state.phase == RUNNING and panel.section.progress == 50
    assert panel.section.status == "Training: 31 of 60"
    panel.jobs.put(SO_FAR, made_up_profile(30, finished=False))
    panel.tick()
    table = slicer.util.getNode("MedPerSAM training")
    assert table.GetNumberOfRows() == 1 and panel.learning.profile is None
    panel.jobs.put(SO_FAR, made_up_profile(60))
    panel.jobs.put(JOB_FINISHED, made_up_profile(60))
    panel.tick(2)
    assert panel.state.phase == IDLE and "The fit is finished: validation Dice 0.60" in panel.section.status
    assert panel.section.profile.startswith("autosam-cnn for Liver, Spleen; trained on 1 case (first)")
    assert panel.section.profile.endswith("finished after 60 steps; not saved.")
    assert np.allclose(slicer.util.arrayFromTableColumn(table, "Validation Dice"), [0.3, 0.6])
    chart = panel.learning.chart()
    assert chart.GetNumberOfPlotSeriesNodes() == 2
    assert scene.GetNumberOfNodesByClass("vtkMRMLPlotChartNode") == 1


@pytest.mark.parametrize("answer", ["the best", "cancelled", "nothing in time"])
def test_cancelled_fit_keeps_the_best_so_far(panel, answer):
    panel.fit()
    panel.jobs.put(SO_FAR, made_up_profile(30, finished=False))
    panel.tick()
    panel.learning.press_fit()
    assert panel.state.phase == CANCELLING and panel.jobs.cancels == 1
    assert panel.section.fit_reason == "It is being cancelled."
    if answer == "the best":
        panel.jobs.put(JOB_FINISHED, made_up_profile(30, finished=False))
    elif answer == "cancelled":
        panel.jobs.put(CANCELLED)
    panel.clock.now += 1
    panel.tick(2)
    assert panel.state.phase == IDLE and panel.learning.profile.fitted.steps == 30
    assert panel.section.status.startswith("Cancelled; the best profile so far is kept: validation Dice 0.30 after 30")
    assert "stopped before its end" in panel.section.profile


def test_fit_cancelled_before_the_first_check_leaves_the_old_profile(panel):
    panel.learning.profile = made_up_profile(90)
    panel.fit()
    panel.learning.press_fit()
    panel.jobs.put(CANCELLED)
    panel.tick()
    assert panel.section.status == "Cancelled." and panel.learning.profile.fitted.steps == 90


def test_failed_fit_says_why(panel):
    panel.fit()
    panel.jobs.put(JOB_FAILED, ("Memory ran out; choose a smaller model.", "Traceback"))
    panel.tick()
    assert panel.state.phase == FAILED and panel.section.status == "Memory ran out; choose a smaller model."
    assert sum("Memory ran out" in line for line in panel.state.log) == 1


def test_bad_cases_are_told_before_anything_starts(panel):
    panel.learning.add_case()
    panel.done_segmentation.GetSegmentation().GetSegment("Spleen").SetName("Liver")
    panel.learning.press_fit()
    assert "two segments called 'Liver'" in panel.section.status and not panel.jobs.submitted


def test_apply_is_a_preview_with_confidence(panel):
    volume, segmentation, labels = panel.next_case()
    assert not panel.section.apply_reason
    panel.learning.press_apply()
    assert panel.section.apply_button == "Cancel" and "application" in panel.section.fit_reason
    panel.put_applied(labels)
    assert panel.state.phase == FINISHED and panel.state.can_decide and panel.state.can_navigate
    assert np.array_equal(read_mask(segmentation, "Spleen", volume), labels == 2)
    assert panel.parameters.segmentIDs == ["Liver", "Spleen"]
    assert panel.section.status.startswith("Applied to next.")
    panel.presenter.go_to_worst()
    assert "slice 11" in panel.state.position or "slice 9" in panel.state.position
    panel.presenter.discard()
    assert not read_mask(segmentation, "Spleen", volume).any() and not panel.state.can_decide


def test_segments_that_the_profile_does_not_know_are_named_and_left(panel):
    volume, segmentation, labels = panel.next_case()
    segmentation.GetSegmentation().AddEmptySegment("Tumour", "Tumour")
    write_slice(segmentation, "Tumour", volume, 0, 5, labels[5] == 1)
    panel.learning.press_apply()
    assert "Not in the profile, and left as they are: Tumour." in "\n".join(panel.state.log)
    panel.put_applied(labels)
    assert np.array_equal(read_mask(segmentation, "Tumour", volume)[5], labels[5] == 1)


def test_cancelled_apply_leaves_nothing(panel):
    volume, segmentation, labels = panel.next_case()
    panel.learning.press_apply()
    panel.jobs.put(SLICE, ("Liver", 4, labels[4] == 1, 0.5))
    panel.tick()
    assert read_mask(segmentation, "Liver", volume).any()
    panel.learning.press_apply()
    panel.jobs.put(CANCELLED)
    panel.tick()
    assert panel.state.phase == IDLE and not read_mask(segmentation, "Liver", volume).any()
    assert panel.section.status.startswith("Cancelled")


def test_corrected_structure_alone_is_propagated(panel):
    volume, segmentation, labels = panel.next_case()
    panel.learning.press_apply()
    panel.put_applied(labels)
    assert not panel.state.ready and "holds only what was found" in panel.state.found
    write_slice(segmentation, "Spleen", volume, 0, 6, np.roll(labels[6] == 2, 2, 0))
    panel.presenter.inputs_changed()
    assert panel.state.ready and "Liver: no slice of it was drawn" in panel.state.found
    panel.presenter.press_main()
    panel.jobs.put_result("Spleen", labels == 2)
    panel.tick(4)
    assert panel.state.phase == FINISHED
    assert np.array_equal(read_mask(segmentation, "Liver", volume), labels == 1)
    panel.presenter.accept()
    panel.learning.add_case()
    assert len(panel.section.cases) == 1


def test_finished_case_of_another_volume_is_not_written_into(panel):
    panel.learning.add_case()
    panel.learning.profile = made_up_profile()
    panel.choose(case("next", 2)[0], panel.done_segmentation)
    panel.learning.press_apply()
    assert "is the finished segmentation of first" in panel.section.status and not panel.jobs.submitted


def test_apply_without_a_segmentation_makes_and_chooses_one(panel):
    volume, _, labels = panel.next_case()
    panel.choose(volume, None)
    panel.learning.press_apply()
    panel.put_applied(labels)
    made = panel.parameters.segmentation
    assert made.GetName() == "next segmentation" and made.GetSegmentation().GetNumberOfSegments() == 2
    panel.presenter.discard()
    assert made.GetScene() is None


def test_fit_and_apply_wait_for_a_propagation(panel):
    panel.learning.profile = made_up_profile()
    panel.choose(panel.volume, panel.segmentation)
    panel.parameters.segmentIDs = ["Liver"]
    panel.presenter.inputs_changed()
    panel.presenter.press_main()
    assert "A propagation is running" in panel.section.fit_reason == panel.section.apply_reason
    for press in (panel.learning.press_fit, panel.learning.press_apply, panel.learning.apply_again):
        press()
    assert len(panel.jobs.submitted) == 1 and not panel.jobs.cancels


def test_scene_close_during_a_fit(panel, scene):
    panel.fit()
    panel.jobs.put(SO_FAR, made_up_profile(30, finished=False))
    panel.tick()
    panel.presenter.scene_closing()
    scene.Clear(0)
    panel.jobs.put(SO_FAR, made_up_profile(60))
    panel.jobs.put(JOB_FINISHED, made_up_profile(60))
    panel.tick(3)
    assert panel.state.phase == IDLE and panel.learning.profile.fitted.steps == 30, "late results are dropped"
    assert scene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 0


def test_deleted_nodes_end_an_application_quietly(panel, scene):
    _, segmentation, labels = panel.next_case()
    panel.learning.press_apply()
    scene.RemoveNode(segmentation)
    panel.put_applied(labels)
    assert panel.state.phase == IDLE and "removed" in panel.section.status
    panel.next_case()
    panel.learning.press_apply()
    scene.RemoveNode(panel.parameters.volume)
    panel.put_applied(labels)
    assert panel.state.phase == IDLE and "closed" in panel.section.status


def test_damaged_profile_and_model_that_is_not_there(panel, tmp_path):
    pytest.importorskip("safetensors")
    file = tmp_path / "organs.safetensors"
    file.write_bytes(b"no tensors")
    panel.learning.load(str(file))
    with pytest.raises(Exception, match="damaged or no profile") as error:
        panel.jobs.submitted[-1](None)
    panel.jobs.put(JOB_FAILED, (str(error.value), "Traceback"))
    panel.tick()
    assert "damaged or no profile" in panel.section.status and panel.learning.profile is None
    from dataclasses import replace

    panel.learning.profile = replace(made_up_profile(), model="vit_b")
    panel.presenter.inputs_changed()
    assert "vit_b is not there yet" in panel.section.apply_reason
    panel.learning.profile = replace(made_up_profile(), model="ours")
    panel.presenter.inputs_changed()
    assert "not known on this computer" in panel.section.apply_reason


@pytest.mark.parametrize(
    "action, words",
    [
        ("add_case", "The case could not be added"),
        ("press_fit", "The fit could not be started"),
        ("save", "The profile could not be saved"),
        ("load", "The profile could not be loaded"),
        ("press_apply", "The profile could not be applied"),
    ],
)
def test_unexpected_errors_are_told_in_one_sentence(panel, monkeypatch, action, words):
    def broken(*_arguments, **_options):
        raise RuntimeError("a library is broken")

    panel.learning.profile = made_up_profile()
    monkeypatch.setattr(panel.learning.cases, "add", broken)
    monkeypatch.setattr(panel.dependencies, "missing", broken)
    monkeypatch.setattr(type(panel.learning.profile), "save", broken)
    getattr(panel.learning, action)(*(["organs"] if action in ("save", "load") else []))
    sentence = f"{words} (RuntimeError: a library is broken); look at the details in the log and try again."
    assert panel.section.status == panel.state.status == sentence and panel.state.inputs_enabled
    assert any("Traceback" in line for line in panel.state.log) and not panel.jobs.submitted


def test_save_and_load(panel, tmp_path):
    pytest.importorskip("safetensors")
    panel.learning.save(str(tmp_path / "early"))
    assert not list(tmp_path.glob("*.safetensors")), "there is nothing to save"
    panel.learning.profile = made_up_profile()
    panel.learning.save(str(tmp_path / "organs"))
    assert (tmp_path / "organs.safetensors").is_file() and "saved as organs.safetensors" in panel.section.profile
    panel.learning.save(str(tmp_path / "nowhere" / "organs"))
    assert "cannot be written" in panel.section.status
    panel.learning.profile = None
    panel.learning.load(str(tmp_path / "organs.safetensors"))
    panel.jobs.put(JOB_FINISHED, panel.jobs.submitted[-1](None))
    panel.tick()
    assert panel.learning.profile.fitted.steps == 60 and "is loaded" in panel.section.status
    assert panel.section.has_curve and panel.learning.chart() is not None


def test_points_are_shown_moved_and_asked_again(panel, scene):
    pytest.importorskip("torch")
    from MedPerSAMLib.core.learn.apply import SlicePoints

    volume, segmentation, labels = panel.next_case()
    points = {
        (number, index): SlicePoints(np.array([[10.5, 8.5], [30.25, 31.0]]), np.array([1, 0]))
        for number in (1, 2)
        for index in (4, 5)
    }
    panel.learning.press_apply()
    panel.presenter._work._run.points = dict(points)
    panel.put_applied(labels)
    assert not panel.section.again_reason
    node = slicer.util.getNode("Liver points")
    assert node.GetNumberOfControlPoints() == 4
    assert node.GetNthControlPointSelected(0) and not node.GetNthControlPointSelected(1)
    display = node.GetDisplayNode()
    assert display.GetSelectedColor() != display.GetColor()
    panel.choose(panel.done_volume, None)
    assert "another volume" in panel.section.again_reason
    panel.learning.apply_again()
    assert len(panel.jobs.submitted) == 1
    panel.choose(volume, segmentation)
    panel.learning.apply_again()
    assert "No point was moved" in panel.section.status and len(panel.jobs.submitted) == 1

    position = np.array(node.GetNthControlPointPositionWorld(2))
    node.SetNthControlPointPositionWorld(2, *(position + [3.0, -1.5, 0]))  # two columns, one row
    panel.learning.apply_again()
    run = panel.presenter._work._run
    assert set(run._moved) == {(1, 5)}
    assert np.allclose(run._moved[1, 5].places, [[9.5, 10.5], [30.25, 31.0]], atol=1e-3)
    run.points = {**points, (1, 5): run._moved[1, 5]}
    panel.put_applied(labels)
    node = slicer.util.getNode("Spleen points")
    node.SetNthControlPointSelected(0, False)
    panel.learning.apply_again()
    assert set(panel.presenter._work._run._moved) == {(1, 5), (2, 4)}, "what was moved before stays moved"
    panel.put_applied(labels)
    panel.presenter.accept()
    assert scene.GetNumberOfNodesByClass("vtkMRMLMarkupsFiducialNode") == 0
    assert "no points" in panel.section.again_reason
