"""The real widget class on PySide6 with stand-ins: every button pressed, every phase pictured."""

from __future__ import annotations

import importlib.util
import os
import types

import numpy as np
import pytest
import scene as build
import slicer

pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed")

import qt_stand_ins
from fakes import FakeJobs

from MedPerSAMLib.core.task import Propagation
from MedPerSAMLib.mrml.panel_state import BUSY
from MedPerSAMLib.mrml.segment_reader import read_mask
from MedPerSAMLib.mrml.segment_writer import write_slice
from MedPerSAMLib.services.jobs import CANCELLED, FAILED, FINISHED, SLICE, SO_FAR, STEP


@pytest.fixture
def widget(module, monkeypatch):
    """The module's widget, set up and entered, with jobs whose news the test puts in."""
    monkeypatch.setattr(module, "Jobs", lambda *_: FakeJobs())
    widget = module.MedPerSAMWidget()
    widget.setup()
    widget.enter()
    widget.jobs = widget.presenter._work._jobs
    yield widget
    widget.cleanup()


@pytest.fixture
def case(widget, scene, grey, ball):
    """The same with a volume and a segmentation chosen."""
    volume = build.volume_node(grey, (0.8, 0.8, 2.5))
    segmentation = build.segmentation_node(volume, "Liver", "Kidney")
    write_slice(segmentation, "Liver", volume, 0, 9, ball[9])
    parameters = widget._parameters
    parameters.volume, parameters.segmentation, parameters.segmentIDs = volume, segmentation, ["Liver"]
    parameters.method = "copy"
    return widget, volume, segmentation, ball


def finish(widget, ball) -> None:
    widget.ui.mainButton.click()
    widget.jobs.put_result("Liver", ball)
    ticks = 0
    while ticks < 4 or widget.presenter.state.phase in BUSY:  # each works for a limited time, on whatever computer
        widget._tick()
        ticks += 1
        assert ticks < 500


def test_entering_installs_and_downloads_nothing(widget):
    assert not widget.jobs.submitted
    assert widget.ui.foundLabel.text() == "Choose the volume." and not widget.ui.mainButton.isEnabled()


def test_choices_reach_the_parameter_node(case):
    widget, volume, _, _ = case
    assert widget.ui.volumeSelector.currentNode() is volume
    for combo, name in (
        (widget.ui.methodCombo, "method"),
        (widget.ui.deviceCombo, "device"),
        (widget.ui.modelCombo, "model"),
    ):
        combo.setCurrentIndex(1)
        assert getattr(widget._parameters, name) == combo.currentData()
    widget.ui.targetCombo.setCurrentIndex(2)
    assert widget._parameters.target == "new segmentation"
    widget.ui.limitRangeCheck.setChecked(True)
    widget.ui.lastSliceSpin.setValue(12)
    assert (widget._parameters.limitRange, widget._parameters.lastSlice) == (True, 12)
    item = widget.ui.segmentsList.item(1)
    item.setCheckState(qt_stand_ins.QtCore.Qt.Checked)
    assert widget._parameters.segmentIDs == ["Liver", "Kidney"]


def test_run_accept_discard_by_buttons(case):
    widget, volume, segmentation, ball = case
    before = read_mask(segmentation, "Liver", volume)
    finish(widget, ball)
    assert widget.ui.acceptButton.isEnabled() and widget.ui.progressBar.value() == 100
    assert widget.ui.confidenceTable.model().rowCount() == len(ball)
    widget.ui.worstButton.click()
    assert "slice 14" in widget.ui.positionLabel.text()
    widget.ui.nextButton.click()
    widget.ui.previousButton.click()
    widget.ui.discardButton.click()
    assert np.array_equal(read_mask(segmentation, "Liver", volume), before) and not widget.ui.discardButton.isEnabled()
    finish(widget, ball)
    widget.ui.acceptButton.click()
    assert np.array_equal(read_mask(segmentation, "Liver", volume), ball)


@pytest.mark.parametrize("target", ["new segment", "new segmentation"])
def test_discard_shows_the_drawing_and_the_target_again(case, target):
    widget, volume, segmentation, ball = case
    widget.ui.targetCombo.setCurrentIndex(widget.ui.targetCombo.findData(target))
    before = read_mask(segmentation, "Liver", volume)
    finish(widget, ball)
    made = widget.ui.segmentationSelector.currentNode()
    assert (made is segmentation) is (target == "new segment") and widget.ui.targetCombo.currentData() == target
    widget.ui.discardButton.click()
    for _ in range(12):
        widget._tick()
    assert widget.ui.segmentationSelector.currentNode() is segmentation
    assert widget._parameters.segmentIDs == ["Liver"] and widget.ui.targetCombo.currentData() == target
    finish(widget, ball)
    assert np.array_equal(read_mask(segmentation, "Liver", volume), before)


@pytest.mark.parametrize("opened", ["never", "on an empty one", "on another one"])
def test_segment_editors_undo_takes_a_run_back(case, opened):
    widget, volume, segmentation, ball = case
    before, module = read_mask(segmentation, "Liver", volume), slicer.modules.segmenteditor
    shown = None
    if opened != "never":
        shown = build.segmentation_node(volume, *(["Spleen"] if opened == "on another one" else []))
        module.widgetRepresentation().self().editor.setSegmentationNode(shown)
    finish(widget, ball)
    editor = module.widgetRepresentation().self().editor
    if opened == "on another one":
        assert editor.segmentationNode() is shown, "its history is not given up"
        assert widget.logic.undo.otherwise.undo(segmentation)
    else:
        assert editor.segmentationNode() is segmentation and editor.node.GetSourceVolumeNode() is volume
        editor.undo()
    assert np.array_equal(read_mask(segmentation, "Liver", volume), before)


@pytest.mark.parametrize("accepted", [False, True])
@pytest.mark.parametrize("opened", ["never", "on this one", "on another one"])
def test_undo_and_redo_of_the_panel(case, scene, opened, accepted):
    widget, volume, segmentation, ball = case
    ui, before = widget.ui, read_mask(segmentation, "Liver", volume)
    shown = build.segmentation_node(volume, "Spleen")
    if opened != "never":
        editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
        editor.setSegmentationNode(shown if opened == "on another one" else segmentation)
    assert not ui.undoButton.isEnabled() and "no propagation to undo" in ui.undoButton.toolTip()
    ui.mainButton.click()
    assert not ui.undoButton.isEnabled() and "is running" in ui.undoButton.toolTip()
    ui.mainButton.click()
    widget.jobs.put(CANCELLED)
    widget._tick()
    finish(widget, ball)
    if accepted:
        ui.acceptButton.click()
    assert ui.undoButton.isEnabled() and not ui.redoButton.isEnabled()
    ui.undoButton.click()
    assert np.array_equal(read_mask(segmentation, "Liver", volume), before)
    assert "is undone" in ui.statusLabel.text() and not ui.undoButton.isEnabled() and not ui.discardButton.isEnabled()
    assert not ui.resultLabel.text() and scene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 0
    assert widget.presenter.state.ready and "annotated on axial slice 9;" in ui.foundLabel.text()
    for _ in range(12):
        widget._tick()
    assert ui.redoButton.isEnabled(), "also after the panel has looked again"
    ui.redoButton.click()
    assert np.array_equal(read_mask(segmentation, "Liver", volume), ball) and ui.undoButton.isEnabled()
    ui.undoButton.click()
    finish(widget, ball)
    assert np.array_equal(read_mask(segmentation, "Liver", volume), ball) and ui.undoButton.isEnabled()
    write_slice(segmentation, "Kidney", volume, 0, 2, ball[9])
    for _ in range(12):
        widget._tick()
    assert not ui.undoButton.isEnabled() and "was drawn in since" in ui.undoButton.toolTip()


def test_undo_of_the_panel_takes_nothing_that_was_drawn_meanwhile(case):
    widget, volume, segmentation, ball = case
    widget.ui.mainButton.click()
    write_slice(segmentation, "Kidney", volume, 0, 2, ball[9])
    widget.jobs.put_result("Liver", ball)
    while widget.presenter.state.phase in BUSY:
        widget._tick()
    assert not widget.ui.undoButton.isEnabled() and "was drawn in since" in widget.ui.undoButton.toolTip()
    widget.ui.undoButton.click()
    widget.presenter.undo()
    assert np.array_equal(read_mask(segmentation, "Kidney", volume)[2], ball[9])


@pytest.mark.parametrize("back", [False, True])
def test_undo_of_the_panel_after_segment_editor_went_on(case, back):
    widget, volume, segmentation, ball = case
    finish(widget, ball)
    editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
    editor.setSegmentationNode(build.segmentation_node(volume, "Spleen"))
    if back:
        editor.setSegmentationNode(segmentation)
        editor.forget()  # as the real one does whenever it shows another segmentation
    widget.presenter.inputs_changed()
    assert widget.ui.undoButton.isEnabled() == back
    widget.ui.undoButton.click()
    assert "ended its history" in (widget.ui.statusLabel.text() if back else widget.ui.undoButton.toolTip())
    assert np.array_equal(read_mask(segmentation, "Liver", volume), ball) and not widget.ui.undoButton.isEnabled()
    widget.ui.discardButton.click()
    assert not read_mask(segmentation, "Liver", volume)[10:].any()


def test_undo_of_a_result_in_a_new_segment_removes_it(case):
    widget, _, segmentation, ball = case
    widget.ui.targetCombo.setCurrentIndex(widget.ui.targetCombo.findData("new segment"))
    finish(widget, ball)
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 3
    widget.ui.undoButton.click()
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 2 and widget._parameters.segmentIDs == ["Liver"]
    assert widget.ui.targetCombo.currentData() == "new segment" and widget.presenter.state.ready


def test_every_button_can_be_pressed(case, monkeypatch):
    """All buttons, enabled or not, in the rest state after a result: none raises, none starts what it must not."""
    widget, _, _, ball = case
    finish(widget, ball)
    opened = []
    dialog = qt_stand_ins.QtWidgets.QFileDialog
    monkeypatch.setattr(dialog, "getSaveFileName", lambda *_: ("", ""))
    monkeypatch.setattr(dialog, "getOpenFileName", lambda *_: ("", ""))
    monkeypatch.setattr(qt_stand_ins.QtGui.QDesktopServices, "openUrl", lambda url: opened.append(url) or True)
    buttons = [w for w in vars(widget.ui).values() if isinstance(w, qt_stand_ins.QtWidgets.QPushButton)]
    assert len(buttons) == 26
    for button in sorted(buttons, key=lambda button: button is widget.ui.snapButton):  # which begins work, so last
        if button is not widget.ui.mainButton:
            button.click()
            widget._tick()
    assert opened, "Open folder"
    assert qt_stand_ins.QtWidgets.QApplication.clipboard().text() in widget.ui.logText.toPlainText()


def test_results_can_be_folded_by_hand(case):
    widget, _, _, ball = case
    section = widget.ui.resultsSection
    assert section.property("collapsed")
    section.setProperty("collapsed", False)
    widget.presenter.inputs_changed()
    assert not section.property("collapsed"), "what the user unfolded stays unfolded"
    finish(widget, ball)
    section.setProperty("collapsed", True)
    widget.ui.worstButton.click()
    assert section.property("collapsed"), "what the user folded stays folded"
    widget.ui.discardButton.click()
    finish(widget, ball)
    assert not section.property("collapsed"), "a new result unfolds it"


def test_learned_methods_can_be_read_in_a_narrow_panel(widget):
    """In a panel of 460 pixels, as in the pictures; what does not fit is cut."""
    combo, arrow_and_frame = widget.ui.learnerCombo, 30
    widget.ui.learningSection.setProperty("collapsed", False)
    widget.parent.resize(460, 1200)
    widget.parent.show()
    texts = [combo.itemText(i) for i in range(combo.count())]
    room = combo.width() - arrow_and_frame
    widget.parent.hide()
    assert room > 300 and [text for text in texts if combo.fontMetrics().horizontalAdvance(text) > room] == []


def test_range_buttons_say_why_they_cannot_be_pressed(case):
    widget, *_ = case
    tips = [button.toolTip() for button in (widget.ui.fromHereButton, widget.ui.toHereButton)]
    assert widget.ui.fromHereButton.isEnabled() and widget.ui.toHereButton.isEnabled()
    widget._parameters.segmentIDs = []
    for button in (widget.ui.fromHereButton, widget.ui.toHereButton):
        assert not button.isEnabled() and "Outline a checked segment" in button.toolTip()
    widget._parameters.segmentIDs = ["Liver"]
    assert [button.toolTip() for button in (widget.ui.fromHereButton, widget.ui.toHereButton)] == tips


def test_table_and_its_name_follow_the_navigation(case):
    widget, volume, segmentation, ball = case
    write_slice(segmentation, "Kidney", volume, 0, 9, ball[9])
    widget._parameters.segmentIDs = ["Liver", "Kidney"]
    widget.ui.mainButton.click()
    everything = np.ones(len(ball), bool)
    results = {
        name: Propagation(ball, np.full(len(ball), confidence, np.float32), ball.any(axis=(1, 2)), everything)
        for name, confidence in (("Liver", 0.8), ("Kidney", 0.4))
    }
    widget.jobs.put(FINISHED, results)
    for _ in range(40):  # two structures: on a busy machine more than a few ticks' time
        widget._tick()
    assert widget.ui.confidenceTable.mrmlTableNode().GetName() == "Liver confidence"
    assert widget.ui.positionLabel.text() == "In the table: Liver"
    widget.ui.worstButton.click()
    assert widget.ui.confidenceTable.mrmlTableNode().GetName() == "Kidney confidence"
    assert widget.ui.positionLabel.text().startswith("Kidney, slice")


def test_clear_folder_asks_first(widget, tmp_path):
    file = tmp_path / "models" / "mobile_sam.pt"
    file.parent.mkdir()
    file.write_bytes(b"x")
    asked, answers = [], [False, True]
    widget.panel.ask = lambda question: asked.append(question) or answers.pop(0)
    widget.ui.clearFolderButton.click()
    assert file.exists() and "Remove mobile_sam" in asked[0] and str(file.parent) in asked[0]
    widget.ui.clearFolderButton.click()
    assert not file.exists()
    widget.ui.clearFolderButton.click()
    assert len(asked) == 2, "nothing is asked where there is nothing to remove"


def test_a_model_that_was_removed_is_not_shown_as_another(case, tmp_path):
    from MedPerSAMLib.services.models.registry import EMBEDDED_FOLDER, REGISTRY
    from MedPerSAMLib.services.models.store import ModelStore

    pytest.importorskip("torch")
    widget, *_ = case
    ModelStore(tmp_path / "models").import_model(EMBEDDED_FOLDER / REGISTRY["tiny"].file, "mine")
    widget.presenter.models.refresh()
    widget._parameters.method, widget._parameters.model = "med-persam", "mine"
    assert widget.ui.modelCombo.currentData() == "mine" and widget.ui.mainButton.isEnabled()
    widget.panel.ask = lambda _question: True
    widget.ui.clearFolderButton.click()
    assert widget._parameters.model == "mine" and widget.ui.modelCombo.currentIndex() == -1
    assert "not known on this computer" in widget.ui.modelDetailsLabel.text()
    assert "not known on this computer" in widget.ui.foundLabel.text() and not widget.ui.mainButton.isEnabled()
    widget.ui.modelCombo.setCurrentIndex(0)
    assert widget._parameters.model == "tiny" and widget.ui.mainButton.isEnabled()


def test_question_is_a_message_box(monkeypatch):
    qt_stand_ins.module()
    from MedPerSAMPanel.panel import ask_user

    box = qt_stand_ins.QtWidgets.QMessageBox
    for answer in (box.Yes, box.No):
        monkeypatch.setattr(box, "question", lambda *_arguments, answer=answer: answer)
        assert ask_user("Remove it?") is (answer == box.Yes)


def test_show_3d_makes_the_surface(case):
    widget, _, segmentation, ball = case
    finish(widget, ball)
    display = segmentation.GetDisplayNode()
    display.SetVisibility(False)
    display.SetVisibility3D(False)
    widget.ui.show3DButton.click()
    assert display.GetVisibility() and display.GetVisibility3D()
    name = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    assert segmentation.GetSegmentation().ContainsRepresentation(name)


def test_plot_is_that_of_the_result_whatever_is_chosen(case, scene, monkeypatch):
    widget, volume, segmentation, ball = case
    finish(widget, ball)
    widget._parameters.segmentation = build.segmentation_node(volume, "Spleen")
    shown = []
    logic = types.SimpleNamespace(ShowChartInLayout=shown.append)
    monkeypatch.setattr(slicer.modules.plots, "logic", lambda: logic)
    widget.ui.plotButton.click()
    assert [chart.GetName() for chart in shown] == [f"{segmentation.GetName()} confidence"]
    assert shown[0].GetNumberOfPlotSeriesNodes() == 1 and scene.GetNumberOfNodesByClass("vtkMRMLPlotChartNode") == 1


def test_a_model_is_downloaded_by_its_button(widget):
    ui = widget.ui
    assert not ui.downloadButton.isEnabled(), "the embedded model needs none"
    ui.modelCombo.setCurrentIndex(ui.modelCombo.findData("vit_b"))
    assert ui.downloadButton.isEnabled()
    ui.downloadButton.click()
    assert len(widget.jobs.submitted) == 1 and "Downloading vit_b ..." in ui.modelDetailsLabel.text()
    widget.jobs.put(STEP, ("downloading", 374, 375))
    widget._tick()
    assert ui.statusLabel.text() == "Downloading: 375 of 375"
    widget.jobs.put(FINISHED, "vit_b")
    widget._tick()
    assert ui.statusLabel.text() == "vit_b is ready." and "vit_b is ready." in ui.logText.toPlainText()


def test_edit_is_seen_once_the_brush_rests(case):
    widget, volume, segmentation, ball = case
    finish(widget, ball)
    write_slice(segmentation, "Liver", volume, 0, 12, np.roll(ball[12], 1, 0))
    for _ in range(12):
        widget._tick()
    assert "annotated on axial slices 9 and 12" in widget.ui.foundLabel.text()


def test_scene_close_and_reuse(case, scene):
    widget, _, _, ball = case
    widget.ui.mainButton.click()
    widget.jobs.put(SLICE, ("Liver", 12, ball[12], 0.5))
    scene.Clear(0)
    widget._tick()
    assert widget.ui.foundLabel.text() == "Choose the volume." and widget._parameters is not None


def test_reload_ends_the_work_and_drops_the_library(case, monkeypatch):
    import sys

    widget, volume, segmentation, ball = case
    before = read_mask(segmentation, "Liver", volume)
    widget.ui.mainButton.click()
    widget.jobs.put(SLICE, ("Liver", 12, ball[12], 0.5))
    widget._tick()
    kept = dict(sys.modules)
    widget.onReload()
    assert widget.reloads == 1 and widget.jobs.closed and "MedPerSAMLib" not in sys.modules
    sys.modules.update(kept)
    assert np.array_equal(read_mask(segmentation, "Liver", volume), before)


def test_setup_twice_leaves_one_worker(case):
    widget, *_ = case
    widget.cleanup()
    widget.cleanup()


def test_panel_is_pictured_in_each_phase(case, tmp_path):
    """Into MEDPERSAM_PICTURES if that is set, to be looked at; here only that something was drawn."""
    widget, _, _, ball = case
    folder = os.environ.get("MEDPERSAM_PICTURES", str(tmp_path))
    widget._parameters.method = "med-persam"

    def picture(name: str) -> None:
        path = os.path.join(folder, f"panel-{name}.png")
        qt_stand_ins.picture(widget.parent, path)
        image = qt_stand_ins.QtGui.QImage(path)
        colours = {image.pixel(x, y) for x in range(0, image.width(), 7) for y in range(0, image.height(), 7)}
        assert image.height() > 500 and len(colours) > 10

    picture("idle")
    widget._parameters.method = "copy"  # needs no model, so that it runs here whichever weights there are
    widget.ui.mainButton.click()
    widget.jobs.put(STEP, ("propagating", 6, 20))
    widget._tick()
    picture("running")
    widget.jobs.put_result("Liver", ball)
    for _ in range(4):
        widget._tick()
    widget.ui.worstButton.click()
    picture("finished")
    widget.ui.discardButton.click()
    widget.ui.mainButton.click()
    sentence = (
        "Memory ran out even in smaller steps; close other volumes or programs, choose a smaller model, or use the CPU."
    )
    widget.jobs.put(FAILED, (sentence, "Traceback"))
    widget._tick()
    picture("failed")


def test_the_range_cannot_be_made_negative_and_a_closed_panel_is_disconnected(case):
    widget, *_ = case
    ui, parameters = widget.ui, widget._parameters
    assert (ui.firstSliceSpin.minimum(), ui.lastSliceSpin.minimum()) == (0, 0)
    parameters.limitRange, parameters.firstSlice = True, -5
    widget.presenter.inputs_changed()
    assert not widget.presenter.state.ready and "does not lie in the slices" in widget.presenter.state.found
    parameters.limitRange, parameters.firstSlice = False, 0
    widget.cleanup()
    assert not parameters._gui


def test_entering_again_keeps_the_wrapped_parameter_node(case):
    widget, *_ = case
    before = widget._parameters
    widget.exit()
    widget.enter()
    assert widget._parameters is before


def test_learning_by_buttons(case, scene, tmp_path, monkeypatch):
    """Add, fit, cancel, save, load, apply, discard, remove: with the buttons of the section alone."""
    from learned import case as finished_case
    from learned import made_up_profile

    widget, *_ = case
    ui, section = widget.ui, widget.presenter.learning.state
    assert ui.learnerCombo.count() == 8 and ui.learnerCombo.currentData() == "autosam-cnn"
    assert not ui.fitButton.isEnabled() and "Add at least one" in ui.fitButton.toolTip()
    volume, segmentation, labels = finished_case("first")
    widget._parameters.volume, widget._parameters.segmentation = volume, segmentation
    ui.addCaseButton.click()
    assert ui.casesList.item(0).text() == "first  +  first organs"
    ui.learnerCombo.setCurrentIndex(4)
    assert widget._parameters.learner == "promise"
    ui.fitButton.click()
    assert ui.fitButton.text() == "Cancel" and not ui.mainButton.isEnabled() and not ui.applyButton.isEnabled()
    assert "A fit is running" in ui.mainButton.toolTip() and "A fit is running" in ui.applyButton.toolTip()
    widget.jobs.put(STEP, ("training", 30, 60))
    widget.jobs.put(SO_FAR, made_up_profile(30, finished=False))
    widget._tick()
    assert ui.learningProgressBar.value() == 50 and ui.curveButton.isEnabled()
    ui.curveButton.click()
    ui.fitButton.click()
    widget.jobs.put(FINISHED, made_up_profile(30, finished=False))
    widget._tick()
    assert "best profile so far is kept" in ui.learningStatusLabel.text() and ui.fitButton.text() == "Fit"

    dialog, path = qt_stand_ins.QtWidgets.QFileDialog, str(tmp_path / "organs.safetensors")
    monkeypatch.setattr(dialog, "getSaveFileName", lambda *_: (path, ""))
    monkeypatch.setattr(dialog, "getOpenFileName", lambda *_: path)  # as PythonQt answers
    ui.saveProfileButton.click()
    assert "saved as organs.safetensors" in ui.profileLabel.text()
    ui.loadProfileButton.click()
    widget.jobs.put(FINISHED, widget.jobs.submitted[-1](None))
    widget._tick()
    assert "is loaded" in ui.learningStatusLabel.text()

    ui.targetCombo.setCurrentIndex(2)
    ui.applyButton.click()
    assert ui.applyButton.text() == "Cancel"
    results = {}
    for number, name in enumerate(("Liver", "Spleen"), start=1):
        mask, everything = labels == number, np.ones(len(labels), bool)
        results[name] = Propagation(mask, np.full(len(labels), 0.5, np.float32), mask.any(axis=(1, 2)), everything)
    widget.jobs.put(FINISHED, results)
    for _ in range(40):  # two structures: on a busy machine more than a few ticks' time
        widget._tick()
    made = widget._parameters.segmentation
    assert made is not segmentation and ui.confidenceTable.model().rowCount() == len(labels)
    ui.worstButton.click()
    assert ui.acceptButton.isEnabled() and "no points" in ui.applyAgainButton.toolTip()
    ui.discardButton.click()
    assert made.GetScene() is None
    ui.removeCaseButton.click()
    assert section.cases == () and not ui.removeCaseButton.isEnabled()


def test_moved_points_are_asked_again_by_their_button(case, scene):
    pytest.importorskip("torch")
    from learned import case as finished_case
    from learned import made_up_profile

    from MedPerSAMLib.core.learn.apply import SlicePoints

    widget, *_ = case
    ui, learning = widget.ui, widget.presenter.learning
    learning.profile = made_up_profile()
    volume, segmentation, labels = finished_case("next", outlined=False)
    widget._parameters.volume, widget._parameters.segmentation = volume, segmentation
    points = {(1, 5): SlicePoints(np.array([[10.5, 8.5], [30.25, 31.0]]), np.array([1, 0]))}

    def applied() -> None:
        widget.presenter._work._run.points = dict(points)
        everything = np.ones(len(labels), bool)
        masks = {name: labels == number for number, name in enumerate(("Liver", "Spleen"), start=1)}
        half = np.full(len(labels), 0.5, np.float32)
        found = {name: Propagation(mask, half, mask.any(axis=(1, 2)), everything) for name, mask in masks.items()}
        widget.jobs.put(FINISHED, found)
        for _ in range(40):
            widget._tick()

    ui.applyButton.click()
    applied()
    assert ui.applyAgainButton.isEnabled()
    ui.applyAgainButton.click()
    assert "No point was moved" in ui.learningStatusLabel.text() and len(widget.jobs.submitted) == 1
    node = slicer.util.getNode("Liver points")
    node.SetNthControlPointPositionWorld(0, *(np.array(node.GetNthControlPointPositionWorld(0)) + [3.0, 0, 0]))
    ui.applyAgainButton.click()
    assert len(widget.jobs.submitted) == 2 and set(widget.presenter._work._run._moved) == {(1, 5)}
    assert ui.applyButton.text() == "Cancel" and not ui.applyAgainButton.isEnabled()
    applied()
    assert np.array_equal(read_mask(segmentation, "Liver", volume), labels == 1)


def test_deleted_case_leaves_the_list_by_itself(case, scene):
    from learned import case as finished_case

    widget, *_ = case
    volume, segmentation, _ = finished_case("first")
    widget._parameters.volume, widget._parameters.segmentation = volume, segmentation
    widget.ui.addCaseButton.click()
    widget._parameters.volume = None
    scene.RemoveNode(segmentation)
    for _ in range(12):
        widget._tick()
    assert widget.ui.casesList.count() == 0


def test_stand_ins_are_not_what_slicer_has():
    assert importlib.util.find_spec("PythonQt") is None
