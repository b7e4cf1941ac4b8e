"""Coming into the module: what is there is chosen, so that a user with a drawn slice only has to press Propagate."""

from __future__ import annotations

import pytest
import scene as build

pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed")

import qt_stand_ins
from fakes import FakeJobs

from MedPerSAMLib.mrml.sample_data import load_sample
from MedPerSAMLib.mrml.segment_reader import segment_ids
from MedPerSAMLib.mrml.segment_writer import write_slice


@pytest.fixture
def widget(module, monkeypatch):
    """The module's widget, set up and not yet entered."""
    monkeypatch.setattr(module, "Jobs", lambda *_: FakeJobs())
    widget = module.MedPerSAMWidget()
    widget.setup()
    yield widget
    widget.cleanup()


def test_after_sample_data_alone_propagate_can_be_pressed(widget):
    volume, segmentation = load_sample()
    widget.enter()
    chosen = widget._parameters
    assert (chosen.volume, chosen.segmentation) == (volume, segmentation)
    assert chosen.segmentIDs == segment_ids(segmentation) and len(chosen.segmentIDs) == 5
    assert widget.ui.mainButton.isEnabled(), widget.ui.foundLabel.text()


def test_the_volume_that_is_shown_comes_before_the_first(widget, scene, grey):
    first, shown = build.volume_node(grey, name="first"), build.volume_node(grey, name="shown")
    scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode").SetBackgroundVolumeID(shown.GetID())
    widget.enter()
    assert widget._parameters.volume is shown
    widget._parameters.volume = first
    widget.enter()
    assert widget._parameters.volume is first, "what was chosen stays"


def test_labelmaps_and_hidden_nodes_are_not_chosen(widget, scene, grey):
    scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    build.volume_node(grey, name="hidden").SetHideFromEditors(True)
    widget.enter()
    assert widget._parameters.volume is None
    volume = build.volume_node(grey)
    widget.enter()
    assert widget._parameters.volume is volume


def test_another_volumes_segmentation_and_an_empty_one_are_not_chosen(widget, grey, ball):
    finished, volume = build.volume_node(grey, name="finished"), build.volume_node(grey)
    build.segmentation_node(finished, "Liver")
    build.segmentation_node(None)
    widget._parameters.volume = volume
    widget.enter()
    assert widget._parameters.segmentation is None
    drawn = build.segmentation_node(volume, "Liver")
    write_slice(drawn, "Liver", volume, 0, 9, ball[9])
    widget.enter()
    assert widget._parameters.segmentation is drawn and widget._parameters.segmentIDs == ["Liver"]


def test_switching_segmentations_checks_the_drawn_segments(widget, grey, ball):
    volume = build.volume_node(grey)
    one, two = build.segmentation_node(volume, "Liver"), build.segmentation_node(volume, "Kidney", "Spleen", "Aorta")
    for segmentation, name in ((one, "Liver"), (two, "Kidney"), (two, "Spleen")):
        write_slice(segmentation, name, volume, 0, 9, ball[9])
    widget.enter()
    assert widget._parameters.segmentIDs == ["Liver"]
    widget.ui.segmentationSelector.setCurrentNode(two)
    assert widget._parameters.segmentIDs == ["Kidney", "Spleen"] and widget.ui.mainButton.isEnabled()
    widget.ui.segmentationSelector.setCurrentNode(one)
    assert widget._parameters.segmentIDs == ["Liver"]


def test_what_the_user_unchecked_stays_unchecked(widget):
    load_sample()
    widget.enter()
    for row in range(5):
        widget.ui.segmentsList.item(row).setCheckState(qt_stand_ins.QtCore.Qt.Unchecked)
    widget.enter()
    assert widget._parameters.segmentIDs == [] and "Check one or more" in widget.ui.foundLabel.text()


def test_the_next_scene_begins_anew(widget, scene):
    load_sample()
    widget.enter()
    scene.Clear(0)
    _, segmentation = load_sample()
    widget.enter()
    assert widget._parameters.segmentIDs == segment_ids(segmentation)
