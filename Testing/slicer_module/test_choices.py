"""What a choice brings with it: the range, what Segment Editor shows, segments that come and go."""

from __future__ import annotations

import numpy as np
import pytest
import scene as build
from fakes import FakeParameters
from panel_case import Panel

from MedPerSAMLib.mrml import checked_segments
from MedPerSAMLib.mrml.checked_segments import drawn_segments
from MedPerSAMLib.mrml.geometry import slice_centre
from MedPerSAMLib.mrml.segment_writer import write_slice


@pytest.fixture
def panel(scene, grey, ball, tmp_path):
    return Panel(scene, grey, ball, tmp_path)


def test_range_from_here_to_here(panel, scene):

    view = scene.AddNewNodeByClass("vtkMRMLSliceNode")
    view.SetOrientation("Axial")

    view.JumpSliceByCentering(*slice_centre(panel.volume, 0, 4))
    panel.presenter.first_slice_here()
    view.JumpSliceByCentering(*slice_centre(panel.volume, 0, 15))
    panel.presenter.last_slice_here()
    assert (panel.parameters.limitRange, panel.parameters.firstSlice, panel.parameters.lastSlice) == (True, 4, 15)
    assert "propagates to 4-15" in panel.state.found
    panel.run()
    used = np.flatnonzero(panel.mask().any(axis=(1, 2)))
    assert used[0] == 4 and used[-1] == 14
    panel.presenter.go_to_worst()
    assert "slice 14" in panel.state.position
    shown = view.GetSliceToRAS().GetElement(2, 3)
    assert shown == pytest.approx(14 * 2.5)
    panel.presenter.go_to_next()
    assert "slice 13" in panel.state.position
    panel.presenter.go_to_previous()
    assert "slice 14" in panel.state.position


def test_inputs_are_filled_from_segment_editor(scene, grey, ball, tmp_path):
    editor = scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    panel = Panel(scene, grey, ball, tmp_path, editor=lambda: editor)
    editor.SetAndObserveSourceVolumeNode(panel.volume)
    editor.SetAndObserveSegmentationNode(panel.segmentation)
    editor.SetSelectedSegmentID("Liver")
    panel.presenter.set_parameters(FakeParameters())
    panel.presenter.fill_from_editor()
    chosen = panel.presenter.parameters
    assert (chosen.volume, chosen.segmentation, chosen.segmentIDs) == (panel.volume, panel.segmentation, ["Liver"])
    assert panel.state.ready


def test_segment_editor_is_followed_but_checks_are_kept(scene, grey, ball, tmp_path):
    editor = scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    panel = Panel(scene, grey, ball, tmp_path, editor=lambda: editor)
    panel.segmentation.GetSegmentation().AddEmptySegment("Kidney", "Kidney")
    panel.parameters.segmentIDs = ["Liver", "Kidney"]
    editor.SetAndObserveSourceVolumeNode(panel.volume)
    editor.SetAndObserveSegmentationNode(panel.segmentation)
    editor.SetSelectedSegmentID("Kidney")
    panel.presenter.fill_from_editor()
    assert panel.parameters.segmentIDs == ["Liver", "Kidney"]
    other = build.segmentation_node(panel.volume, "Spleen")
    editor.SetAndObserveSegmentationNode(other)
    editor.SetSelectedSegmentID("Spleen")
    panel.presenter.fill_from_editor()
    assert (panel.parameters.segmentation, panel.parameters.segmentIDs) == (other, ["Spleen"])


def test_the_empty_segmentation_that_segment_editor_makes_is_no_choice(scene, grey, ball, tmp_path):
    editor = scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    editor.SetAndObserveSegmentationNode(build.segmentation_node(None))
    panel = Panel(scene, grey, ball, tmp_path, editor=lambda: editor)
    panel.presenter.set_parameters(FakeParameters())
    panel.presenter.fill_from_editor()
    assert panel.presenter.parameters.segmentation is panel.segmentation and panel.state.ready


def test_a_segmentation_of_many_large_organs_is_not_searched(scene, grey, ball, tmp_path, monkeypatch):
    panel = Panel(scene, grey, ball, tmp_path)
    assert drawn_segments(panel.segmentation, panel.volume) == ["Liver"]
    monkeypatch.setattr(checked_segments, "LOOK_VOXELS", 10)
    assert drawn_segments(panel.segmentation, panel.volume) == []


def test_a_finished_segment_is_not_checked_by_itself(scene, grey, ball, tmp_path, monkeypatch):
    panel = Panel(scene, grey, ball, tmp_path)
    monkeypatch.setattr(checked_segments, "MOST_SLICES", 2)
    write_slice(panel.segmentation, "Liver", panel.volume, 0, 10, ball[10])
    assert drawn_segments(panel.segmentation, panel.volume) == ["Liver"]
    write_slice(panel.segmentation, "Liver", panel.volume, 0, 11, ball[11])
    assert drawn_segments(panel.segmentation, panel.volume) == []


def test_segments_are_checked_once_the_volume_is_there_too(scene, grey, ball, tmp_path):
    panel = Panel(scene, grey, ball, tmp_path)
    panel.segmentation.GetSegmentation().AddEmptySegment("Kidney", "Kidney")
    panel.presenter.set_parameters(FakeParameters())
    panel.presenter.parameters.segmentation = panel.segmentation
    panel.presenter.inputs_changed()
    assert panel.presenter.parameters.segmentIDs == []
    panel.presenter.parameters.volume = panel.volume
    panel.presenter.inputs_changed()
    assert panel.presenter.parameters.segmentIDs == ["Liver"] and panel.state.ready


def test_choices_are_tidied(panel):
    panel.parameters.segmentIDs = ["gone"]
    panel.presenter.inputs_changed()
    assert panel.parameters.segmentIDs == ["Liver"], "the only segment there is"
    panel.parameters.limitRange = True
    panel.presenter.inputs_changed()
    assert panel.parameters.lastSlice == 19 and panel.state.ready, "a fresh range spans all slices"
    panel.parameters.lastSlice = 30
    panel.presenter.inputs_changed()
    assert "range 0-30 does not lie in the slices 0-19" in panel.state.found and not panel.state.ready
