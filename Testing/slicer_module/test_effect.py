"""The Segment Editor effect on stand-ins: it drives the module's own presenter."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
import scene as build
import slicer

pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed")

from fakes import FakeJobs

from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.mrml.segment_reader import read_mask
from MedPerSAMLib.mrml.segment_writer import write_slice


class ScriptedEffect:
    """STAND-IN for qSlicerSegmentEditorScriptedEffect."""

    def __init__(self, node) -> None:
        self._node, self.widgets = node, []

    def parameterSetNode(self):
        return self._node

    def addOptionsWidget(self, widget) -> None:
        self.widgets.append(widget)


@pytest.fixture
def effect(scene, module, grey, ball, monkeypatch):
    """The effect, active on a drawn segment; with volume, segmentation, the mask and the module's jobs."""
    monkeypatch.setattr(module, "Jobs", lambda *_: FakeJobs())
    widget = module.MedPerSAMWidget()
    widget.setup()
    widget._parameters.method = "copy"
    representation = types.SimpleNamespace(self=lambda: widget)
    monkeypatch.setattr(
        slicer.modules, "medpersam", types.SimpleNamespace(widgetRepresentation=lambda: representation), raising=False
    )
    base = types.ModuleType("SegmentEditorEffects")
    base.AbstractScriptedSegmentEditorEffect = type(
        "AbstractScriptedSegmentEditorEffect",
        (),
        {"__init__": lambda self, scripted: setattr(self, "scriptedEffect", scripted)},
    )
    monkeypatch.setitem(sys.modules, "SegmentEditorEffects", base)
    from MedPerSAMEffects.SegmentEditorMedPerSAMEffect import SegmentEditorMedPerSAMEffect

    volume = build.volume_node(grey, (0.8, 0.8, 2.5))
    segmentation = build.segmentation_node(volume, "Liver", "Kidney")
    write_slice(segmentation, "Liver", volume, 0, 9, ball[9])
    node = scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    node.SetAndObserveSourceVolumeNode(volume)
    node.SetAndObserveSegmentationNode(segmentation)
    node.SetSelectedSegmentID("Liver")
    effect = SegmentEditorMedPerSAMEffect(ScriptedEffect(node))
    effect.setupOptionsFrame()
    effect.activate()
    yield effect, volume, segmentation, ball, widget
    effect.deactivate()
    widget.cleanup()


def test_it_shows_what_was_found(effect):
    effect, *_ = effect
    assert effect.foundLabel.text() == "Liver: annotated on axial slice 9; propagates to 0-19."
    assert effect.buttons["main"].isEnabled() and not effect.buttons["accept"].isEnabled()
    assert effect.scriptedEffect.name == "Propagate slice" and not effect.icon().isNull() and effect.helpText()


def test_an_effect_whose_editor_is_gone_hears_nothing_more(effect):
    effect, *_, widget = effect
    effect.foundLabel.setText("as it was")
    effect.cleanup()
    widget.presenter.inputs_changed()
    assert effect.foundLabel.text() == "as it was" and effect.presenter is None and not effect.timer.isActive()
    type(effect)(ScriptedEffect(None)).cleanup()  # one that was only registered


def test_propagate_and_take_back(effect):
    effect, volume, segmentation, ball, widget = effect
    before = read_mask(segmentation, "Liver", volume)
    effect.buttons["main"].click()
    widget.presenter._work._jobs.put_result("Liver", ball)
    for _ in range(4):
        effect._tick()
    assert np.array_equal(read_mask(segmentation, "Liver", volume), ball)
    effect.buttons["worst"].click()
    assert "slice 14" in effect.statusLabel.text()
    effect.buttons["discard"].click()
    assert np.array_equal(read_mask(segmentation, "Liver", volume), before)
    assert widget._parameters.segmentIDs == ["Liver"], "the module shows the same choice"


def test_every_widget_has_a_tool_tip(effect):
    effect, *_ = effect
    widgets = effect.scriptedEffect.widgets
    assert len(widgets) == 8 and all(widget.toolTip().strip() for widget in widgets)


@pytest.mark.parametrize("target", ["new segment", "new segmentation"])
def test_corrections_go_on_where_the_result_went(effect, target):
    effect, volume, segmentation, ball, widget = effect
    widget._parameters.target, drawn = target, read_mask(segmentation, "Liver", volume)
    effect.buttons["main"].click()
    widget.presenter._work._jobs.put_result("Liver", ball)
    for _ in range(4):
        effect._tick()
    node = effect.scriptedEffect.parameterSetNode()
    made, segment_id = node.GetSegmentationNode(), node.GetSelectedSegmentID()
    assert (made is segmentation) is (target == "new segment") and (made, segment_id) != (segmentation, "Liver")
    assert np.array_equal(read_mask(made, segment_id, volume), ball)
    assert np.array_equal(read_mask(segmentation, "Liver", volume), drawn)
    effect.updateGUIFromMRML()
    assert (widget._parameters.segmentation, widget._parameters.segmentIDs) == (made, [segment_id])
    effect.buttons["main"].click()
    widget.presenter._work._jobs.put_result(segment_id, ball)
    for _ in range(4):
        effect._tick()
    assert made.GetSegmentation().GetNumberOfSegments() == (3 if made is segmentation else 1)
    assert np.array_equal(read_mask(segmentation, "Liver", volume), drawn)
    effect.buttons["discard"].click()
    assert (node.GetSegmentationNode(), node.GetSelectedSegmentID()) == (segmentation, "Liver")
    assert widget._parameters.target == target


def test_snap_replaces_the_drawn_shape(effect):
    effect, volume, segmentation, ball, widget = effect
    shape = np.zeros_like(ball[9])
    shape[3:18, 7:24] = True
    write_slice(segmentation, "Liver", volume, 0, 9, shape)
    effect.updateGUIFromMRML()
    effect.buttons["snap"].click()
    jobs = widget.presenter._work._jobs
    jobs.put("finished", jobs.submitted[-1](Progress()))
    for _ in range(2):
        effect._tick()
    drawn = read_mask(segmentation, "Liver", volume)[9]
    assert drawn.any() and not np.array_equal(drawn, shape) and "is outlined" in effect.statusLabel.text()
    widget._parameters.segmentIDs = ["Liver", "Kidney"]
    effect._render()
    assert not effect.buttons["snap"].isEnabled()


def test_another_segment_is_followed(effect):
    effect, *_ = effect
    effect.scriptedEffect.parameterSetNode().SetSelectedSegmentID("Kidney")
    effect.updateGUIFromMRML()
    assert "Kidney is empty" in effect.foundLabel.text() and not effect.buttons["main"].isEnabled()


@pytest.mark.parametrize("target", ["same segment", "new segment", "new segmentation"])
@pytest.mark.parametrize("meanwhile", ["another segment", "another tool", "another tool and segment"])
def test_a_user_who_has_gone_on_keeps_the_selection(effect, target, meanwhile):
    """Strokes that follow would go into another organ otherwise."""
    effect, _, segmentation, ball, widget = effect
    widget._parameters.target = target
    node = effect.scriptedEffect.parameterSetNode()
    effect.buttons["main"].click()
    if "tool" in meanwhile:
        effect.deactivate()
    if "segment" in meanwhile:
        node.SetSelectedSegmentID("Kidney")
        effect.updateGUIFromMRML()
    chosen = node.GetSelectedSegmentID()
    widget.presenter._work._jobs.put_result("Liver", ball)
    for _ in range(4):
        (widget if "tool" in meanwhile else effect)._tick()
    assert widget.presenter.state.phase == "finished"
    if "tool" in meanwhile:
        effect.activate()
    effect._tick()
    assert (node.GetSegmentationNode(), node.GetSelectedSegmentID()) == (segmentation, chosen)
    assert widget._parameters.segmentIDs == [chosen], "the effect works on what is selected"
    assert effect.foundLabel.text().startswith(chosen)
