"""The panel's flow with fakes: phases, texts, what can be pressed, and what the scene holds after each end."""

from __future__ import annotations

import time

import numpy as np
import pytest
from fakes import FakeDependencies
from panel_case import Panel

from MedPerSAMLib.errors import DependencyError
from MedPerSAMLib.mrml.panel_state import BUSY, CANCELLING, FAILED, FINISHED, IDLE, INSTALLING, LOADING, RUNNING
from MedPerSAMLib.mrml.presenter import Presenter
from MedPerSAMLib.mrml.segment_reader import read_mask
from MedPerSAMLib.mrml.segment_writer import write_slice
from MedPerSAMLib.services.jobs import CANCELLED, NOTE, SLICE, STEP, Jobs
from MedPerSAMLib.services.jobs import FAILED as JOB_FAILED
from MedPerSAMLib.services.jobs import FINISHED as JOB_FINISHED
from MedPerSAMLib.services.models.load import _told, choose_device
from MedPerSAMLib.services.models.store import ModelStore
from MedPerSAMLib.services.preload import prepare_all


@pytest.fixture
def panel(scene, grey, ball, tmp_path):
    return Panel(scene, grey, ball, tmp_path)


def test_found_line_says_what_will_happen(panel):
    assert panel.state.found == "Liver: annotated on axial slice 9; propagates to 0-19."
    assert panel.state.ready and panel.state.button == "Propagate" and panel.state.button_enabled
    assert panel.state.device == "The CPU is used, as asked for."


@pytest.mark.parametrize(
    "field, value, words",
    [
        ("volume", None, "Choose the volume"),
        ("segmentation", None, "Segment Editor"),
        ("segmentIDs", [], "Check one or more"),
    ],
)
def test_missing_inputs_are_named(panel, field, value, words):
    setattr(panel.parameters, field, value)
    panel.presenter.inputs_changed()
    assert words in panel.state.found and not panel.state.button_enabled


def test_a_whole_run(panel):
    panel.presenter.press_main()
    assert (panel.state.phase, panel.state.button) == (LOADING, "Cancel") and not panel.state.inputs_enabled
    panel.jobs.put(STEP, ("propagating", 3, 20))
    panel.tick()
    assert panel.state.phase == RUNNING and panel.state.status == "Propagating: 4 of 20" and panel.state.progress == 15
    panel.jobs.put(SLICE, ("Liver", 12, panel.ball[12], 0.7))
    panel.tick()
    assert np.array_equal(panel.mask()[12], panel.ball[12]), "a slice is shown as soon as it is finished"
    panel.jobs.put_result("Liver", panel.ball)
    panel.tick(3)
    assert panel.state.phase == FINISHED and np.array_equal(panel.mask(), panel.ball)
    assert panel.state.can_decide and panel.state.can_navigate and panel.state.can_show_3d
    assert "least certain: slice 14" in panel.state.result
    assert panel.state.found.startswith("Liver: annotated on axial slice 9;")


def test_seconds_left_are_told(panel):
    panel.presenter.press_main()
    for done in range(4):
        panel.jobs.put(STEP, ("propagating", done, 20))
        panel.tick()
        panel.clock.now += 2
    assert panel.state.status == "Propagating: 4 of 20, 34 s left"


def test_accept_and_discard(panel):
    before = panel.mask()
    panel.run()
    panel.presenter.discard()
    assert panel.state.phase == IDLE and np.array_equal(panel.mask(), before) and not panel.state.can_decide
    panel.run()
    panel.presenter.accept()
    assert panel.state.phase == IDLE and np.array_equal(panel.mask(), panel.ball) and not panel.state.can_decide


@pytest.mark.parametrize("keep", [False, True])
def test_cancel(panel, keep):
    panel.parameters.keepFinished, before = keep, panel.mask()
    panel.presenter.press_main()
    panel.jobs.put(STEP, ("propagating", 3, 20))
    panel.jobs.put(SLICE, ("Liver", 12, panel.ball[12], 0.7))
    panel.tick()
    panel.presenter.press_main()
    assert panel.state.phase == CANCELLING and panel.jobs.cancels == 1 and not panel.state.button_enabled
    panel.jobs.put(SLICE, ("Liver", 13, panel.ball[13], 0.7))
    panel.jobs.put(CANCELLED)
    panel.tick()
    assert panel.state.phase == IDLE and "Cancelled" in panel.state.status
    assert np.array_equal(panel.mask()[12], panel.ball[12]) is keep and not panel.mask()[13].any()
    assert keep or np.array_equal(panel.mask(), before)


def test_cancel_does_not_wait_for_a_long_step(panel):
    panel.presenter.press_main()
    panel.presenter.press_main()
    panel.clock.now += 0.5
    panel.tick()
    assert panel.state.phase == CANCELLING
    panel.clock.now += 0.4
    panel.tick()
    assert panel.state.phase == IDLE and "still ending" in panel.state.status
    panel.jobs.put_result("Liver", panel.ball)
    panel.tick(3)
    assert panel.state.phase == IDLE and not panel.mask()[12].any(), "late results are dropped"


def test_late_results_of_an_earlier_job_are_dropped(panel):
    panel.presenter.press_main()
    panel.presenter.press_main()
    panel.clock.now += 1
    panel.tick()
    panel.presenter.press_main()
    panel.jobs.put(JOB_FINISHED, {}, job=1)
    panel.jobs.put(SLICE, ("Liver", 12, panel.ball[12], 0.7), job=1)
    panel.tick()
    assert panel.state.phase == LOADING and not panel.mask()[12].any()


def test_failure_gives_the_sentence_and_leaves_the_scene(panel):
    before = panel.mask()
    panel.presenter.press_main()
    panel.jobs.put(SLICE, ("Liver", 12, panel.ball[12], 0.7))
    panel.jobs.put(JOB_FAILED, ("Memory ran out; choose a smaller model.", "Traceback"))
    panel.tick()
    assert (panel.state.phase, panel.state.status) == (FAILED, "Memory ran out; choose a smaller model.")
    assert np.array_equal(panel.mask(), before) and panel.state.button_enabled


def test_a_dead_worker_is_noticed(panel):
    panel.presenter.press_main()
    panel.jobs.alive = False
    panel.tick()
    assert panel.state.phase == FAILED and "worker stopped" in panel.state.status


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_worker_that_really_dies_is_noticed_and_replaced(scene, grey, ball, tmp_path, monkeypatch):
    panel, jobs = Panel(scene, grey, ball, tmp_path), Jobs()
    presenter = Presenter(scene, panel.logic, jobs, panel.dependencies, ModelStore(tmp_path))
    presenter.set_parameters(panel.parameters)
    before = panel.mask()

    def run() -> str:
        presenter.press_main()
        end = time.monotonic() + 30
        while presenter.state.phase in BUSY and time.monotonic() < end:
            presenter.tick()
            time.sleep(0.001)
        return presenter.state.phase

    def dies(*_arguments):
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(panel.logic, "compute", dies)
        assert run() == FAILED and "The background worker stopped; press Propagate again" in presenter.state.status
        assert np.array_equal(panel.mask(), before) and not jobs.alive
    assert run() == FINISHED and not np.array_equal(panel.mask(), before)
    assert presenter.close(timeout_s=10)


def test_packages_are_installed_with_consent_first(scene, grey, ball, tmp_path):
    panel = Panel(scene, grey, ball, tmp_path, dependencies=FakeDependencies(["torch"]))
    assert "torch" in panel.state.dependencies and panel.dependencies.installs == 0
    panel.presenter.press_main()
    assert INSTALLING in panel.seen and panel.state.phase == LOADING and panel.dependencies.installs == 1


def test_a_refused_installation_says_how_to_go_on(scene, grey, ball, tmp_path):
    refusal = DependencyError("PyTorch was not installed; press Propagate again and agree.")
    panel = Panel(scene, grey, ball, tmp_path, dependencies=FakeDependencies(["torch"], refusal))
    panel.presenter.press_main()
    assert (panel.state.phase, panel.state.status) == (FAILED, str(refusal)) and not panel.jobs.submitted


def test_what_a_run_needs_is_imported_once_ahead(panel):
    panel.presenter.inputs_changed()
    assert panel.jobs.prepared == [prepare_all] and not panel.jobs.submitted


def test_nothing_is_imported_ahead_without_inputs_or_packages(scene, grey, ball, tmp_path):
    panel = Panel(scene, grey, ball, tmp_path, dependencies=FakeDependencies(["torch"]))
    assert panel.jobs.prepared == []
    panel.parameters.segmentation = None
    panel.dependencies.install()
    panel.presenter.inputs_changed()
    assert panel.jobs.prepared == []
    panel.parameters.segmentation = panel.segmentation
    panel.presenter.inputs_changed()
    assert panel.jobs.prepared == [prepare_all]


def test_the_device_line_says_what_the_background_has_found_out(panel):
    panel.parameters.device = "auto"
    _told.clear()
    panel.presenter.inputs_changed()
    assert panel.state.device.endswith("checked when a run starts.")
    panel.jobs.prepared[0]()
    panel.tick()
    assert panel.state.device == choose_device("auto")[1]


def test_the_device_line_knows_that_the_gpu_was_too_small(panel):
    panel.logic.sessions._too_large.add(("tiny", "auto"))
    panel.parameters.device = "auto"
    panel.presenter.inputs_changed()
    assert panel.state.device.startswith("The CPU is used because the GPU's memory was not enough")
    panel.parameters.model = "vit_b"
    panel.presenter.inputs_changed()
    assert "memory" not in panel.state.device


def test_model_that_is_not_there_blocks_with_the_remedy(panel):
    panel.parameters.method, panel.parameters.model = "med-persam", "vit_b"
    panel.presenter.inputs_changed()
    assert "vit_b is not there yet: press Download" in panel.state.found and not panel.state.button_enabled


def test_model_that_is_not_known_here_blocks_with_the_remedy(panel):
    panel.parameters.method, panel.parameters.model = "med-persam", "mine"
    panel.presenter.inputs_changed()
    assert "The model 'mine' is not known on this computer; import it under Model files" in panel.state.found
    assert not panel.state.ready
    panel.presenter.models.download("mine")
    assert panel.presenter.models.status == "mine has no download; import its file." and not panel.jobs.submitted


def test_scene_close_while_running(panel, scene):
    panel.presenter.press_main()
    panel.jobs.put(SLICE, ("Liver", 12, panel.ball[12], 0.7))
    panel.presenter.scene_closing()
    scene.Clear(0)
    panel.tick(2)
    assert panel.state.phase == IDLE and panel.presenter.parameters is None and panel.jobs.cancels == 1


def test_deleting_the_segmentation_stops_the_run(panel, scene):
    panel.presenter.press_main()
    scene.RemoveNode(panel.segmentation)
    panel.jobs.put(SLICE, ("Liver", 12, panel.ball[12], 0.7))
    panel.tick()
    assert panel.state.phase == IDLE and "stopped" in panel.state.log[-1]


def test_undo_while_running_stops_the_run(panel):
    before = panel.mask()
    panel.presenter.press_main()
    panel.jobs.put(SLICE, ("Liver", 12, panel.ball[12], 0.7))
    panel.tick()
    panel.logic.undo.undo(panel.segmentation)
    panel.jobs.put(SLICE, ("Liver", 13, panel.ball[13], 0.7))
    panel.tick()
    assert panel.state.phase == IDLE and np.array_equal(panel.mask(), before)


def test_close_takes_half_a_result_back(panel):
    before = panel.mask()
    panel.presenter.press_main()
    panel.jobs.put(SLICE, ("Liver", 12, panel.ball[12], 0.7))
    panel.tick()
    assert panel.presenter.close() and panel.jobs.closed
    assert np.array_equal(panel.mask(), before)


def test_discard_spares_the_organ_finished_before(panel):
    panel.run()
    liver = panel.mask()
    panel.segmentation.GetSegmentation().AddEmptySegment("Kidney", "Kidney")
    write_slice(panel.segmentation, "Kidney", panel.volume, 0, 9, panel.ball[9])
    panel.parameters.segmentIDs = ["Kidney"]
    panel.presenter.inputs_changed()
    panel.presenter.press_main()
    panel.jobs.put_result("Kidney", panel.ball)
    panel.tick(3)
    panel.presenter.discard()
    assert np.array_equal(panel.mask(), liver)
    assert read_mask(panel.segmentation, "Kidney", panel.volume).any(axis=(1, 2)).sum() == 1


def test_notes_reach_the_log(panel):
    panel.presenter.press_main()
    panel.jobs.put(NOTE, "The CPU is used because PyTorch finds no CUDA GPU on this computer.")
    panel.tick()
    assert "no CUDA GPU" in panel.state.log[-1]
