"""Whole propagations without a window: written, accepted, discarded, undone, corrected, cancelled."""

from __future__ import annotations

import numpy as np
import pytest
import scene as build
import slicer
import vtk

from MedPerSAMLib.core.progress import CallbackProgress
from MedPerSAMLib.core.task import Propagation
from MedPerSAMLib.errors import Cancelled, InputError
from MedPerSAMLib.mrml.annotated_slices import find_annotation
from MedPerSAMLib.mrml.logic import PropagationLogic
from MedPerSAMLib.mrml.segment_reader import read_mask
from MedPerSAMLib.mrml.segment_writer import write_slice
from MedPerSAMLib.mrml.targets import NEW_SEGMENT, NEW_SEGMENTATION

COPY = {"method": "copy", "device": "cpu"}


@pytest.fixture
def case(scene, grey, ball):
    """Volume, segmentation with Liver annotated on axial slice 9, and the mask."""
    volume = build.volume_node(grey, (0.8, 0.8, 2.5), (5, 10, 15))
    segmentation = build.segmentation_node(volume, "Liver", "Kidney")
    write_slice(segmentation, "Liver", volume, 0, 9, ball[9])
    return volume, segmentation, ball


def _masks(volume, segmentation) -> np.ndarray:
    return np.stack([read_mask(segmentation, i, volume) for i in ("Liver", "Kidney")])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_result_is_in_the_segment(case, axis):
    volume, segmentation, ball = case
    index = 11
    write_slice(segmentation, "Liver", volume, 0, 9, np.zeros_like(ball[9]))
    write_slice(segmentation, "Liver", volume, axis, index, np.moveaxis(ball, axis, 0)[index])
    result = PropagationLogic().process(volume, segmentation, ["Liver"], **COPY)["Liver"]
    written = np.moveaxis(read_mask(segmentation, "Liver", volume), axis, 0)
    assert np.array_equal(written, result.mask) and written.any(axis=(1, 2)).all()


def test_undo_is_one_step_and_takes_the_memory_along(case):
    volume, segmentation, _ = case
    logic, before = PropagationLogic(), _masks(volume, segmentation)
    logic.process(volume, segmentation, ["Liver"], **COPY)
    after = _masks(volume, segmentation)
    assert logic.undo.undo(segmentation) and np.array_equal(_masks(volume, segmentation), before)
    assert list(find_annotation(segmentation, "Liver", volume).masks) == [9]
    assert not logic.undo.undo(segmentation), "one step, not several"
    assert logic.drop_undone(), "as the panel does when it looks again"
    assert logic.undo.redo(segmentation) and np.array_equal(_masks(volume, segmentation), after)
    assert list(find_annotation(segmentation, "Liver", volume).masks) == [9]


def test_run_after_undo_starts_afresh(case):
    volume, segmentation, _ = case
    logic = PropagationLogic()
    logic.process(volume, segmentation, ["Liver"], **COPY)
    first = _masks(volume, segmentation)
    logic.undo.undo(segmentation)
    logic.process(volume, segmentation, ["Liver"], **COPY)
    assert np.array_equal(_masks(volume, segmentation), first)


def test_discard_removes_everything(case, scene):
    volume, segmentation, _ = case
    before, nodes = _masks(volume, segmentation), scene.GetNumberOfNodes()
    tags = _tags(segmentation)
    logic = PropagationLogic()
    logic.process(volume, segmentation, ["Liver"], **COPY)
    assert logic.pending
    assert logic.discard() == 0 and not logic.pending
    assert np.array_equal(_masks(volume, segmentation), before) and _tags(segmentation) == tags
    assert scene.GetNumberOfNodes() <= nodes + 1, "only the hidden node that holds the undo history may remain"


def test_accept_keeps_everything(case):
    volume, segmentation, _ = case
    logic = PropagationLogic()
    logic.process(volume, segmentation, ["Liver"], **COPY)
    after = _masks(volume, segmentation)
    logic.accept()
    assert logic.discard() == 0 and np.array_equal(_masks(volume, segmentation), after)


def test_correction_is_a_further_reference_and_never_changed(case):
    volume, segmentation, ball = case
    logic = PropagationLogic()
    logic.process(volume, segmentation, ["Liver"], **COPY)
    correction = np.roll(ball[13], 2, 1)
    write_slice(segmentation, "Liver", volume, 0, 13, correction)
    result = logic.process(volume, segmentation, ["Liver"], **COPY)["Liver"]
    written = read_mask(segmentation, "Liver", volume)
    assert np.array_equal(written[13], correction) and np.array_equal(written[9], ball[9])
    assert np.array_equal(written[14], correction), "slices near the correction follow it"
    assert np.array_equal(written, result.mask)
    assert logic.discard() == 1
    kept = read_mask(segmentation, "Liver", volume)
    assert np.array_equal(kept[13], correction), "the user's correction outlives a Discard"
    assert sorted(np.flatnonzero(kept.any(axis=(1, 2)))) == [9, 13]


def test_slice_drawn_while_running_belongs_to_the_user(case):
    volume, segmentation, ball = case
    logic = PropagationLogic()
    run = logic.start(volume, segmentation, ["Liver"], **COPY)
    run.write("Liver", 12, ball[12])
    drawn = np.roll(ball[12], 3, 0)
    write_slice(segmentation, "Liver", volume, 0, 12, drawn)
    write_slice(segmentation, "Liver", volume, 0, 14, drawn)
    assert not run.write("Liver", 12, ball[12]) and not run.write("Liver", 14, ball[14])
    assert run.cancel() == 1
    kept = read_mask(segmentation, "Liver", volume)
    assert np.array_equal(kept[12], drawn) and np.array_equal(kept[14], drawn)
    assert sorted(np.flatnonzero(kept.any(axis=(1, 2)))) == [9, 12, 14]


def test_undo_while_running_stops_the_run(case):
    volume, segmentation, ball = case
    logic, before = PropagationLogic(), _masks(volume, segmentation)
    run = logic.start(volume, segmentation, ["Liver"], **COPY)
    run.write("Liver", 12, ball[12])
    logic.undo.undo(segmentation)
    with pytest.raises(Cancelled, match="undone"):
        run.write("Liver", 13, ball[13])
    run.cancel()
    assert np.array_equal(_masks(volume, segmentation), before)


def _write_around_a_stroke(case, logic):
    """A run that wrote slice 12, then 13 and 14 after the user began a stroke on slice 4."""
    volume, segmentation, ball = case
    run = logic.start(volume, segmentation, ["Liver"], **COPY)
    run.write("Liver", 12, ball[12])
    logic.undo.save(segmentation, volume)  # as Segment Editor does before each stroke
    write_slice(segmentation, "Liver", volume, 0, 4, ball[4])
    assert not run.write("Liver", 4, ball[5])
    run.write("Liver", 13, ball[13])
    run.write("Liver", 14, ball[14])
    return run


def _finish(run, mask) -> None:
    everything = np.ones(len(mask), bool)
    result = Propagation(mask, np.full(len(mask), 0.5, np.float32), mask.any(axis=(1, 2)), everything)
    list(run.finish({"Liver": result}))


@pytest.mark.parametrize("redo", [False, True])
def test_undo_of_a_stroke_while_running_loses_no_slice(case, redo):
    """Undo takes back what was written since the stroke began; the run goes on and writes it again."""
    volume, segmentation, ball = case
    logic = PropagationLogic()
    run = _write_around_a_stroke(case, logic)
    logic.undo.undo(segmentation)
    assert not read_mask(segmentation, "Liver", volume)[[4, 13, 14]].any()
    if redo:
        assert logic.undo.redo(segmentation)
    _finish(run, ball)
    assert np.array_equal(read_mask(segmentation, "Liver", volume), ball)
    found = find_annotation(segmentation, "Liver", volume)
    assert not found.cleared and found.open_range() == range(20)
    assert sorted(found.masks) == ([4, 9] if redo else [9])


def test_undo_of_a_stroke_before_cancel_and_after_the_end(case):
    volume, segmentation, ball = case
    logic, before = PropagationLogic(), _masks(volume, segmentation)
    run = _write_around_a_stroke(case, logic)
    logic.undo.undo(segmentation)
    assert run.cancel() == 0 and np.array_equal(_masks(volume, segmentation), before)

    _finish(_write_around_a_stroke(case, logic), ball)
    logic.undo.undo(segmentation)
    assert logic.drop_undone() and logic.pending
    found = find_annotation(segmentation, "Liver", volume)
    assert (sorted(found.masks), sorted(found.propagated), found.cleared) == ([9], [12], frozenset())
    assert not _tag(segmentation, "Liver")[1][0], "no run goes on"
    assert logic.discard() == 0 and np.array_equal(_masks(volume, segmentation), before)


@pytest.mark.parametrize("target", ["same segment", NEW_SEGMENT, NEW_SEGMENTATION])
def test_cancel_leaves_nothing(case, scene, target):
    volume, segmentation, _ = case
    before, tags, seen = _masks(volume, segmentation), _tags(segmentation), []
    progress = CallbackProgress(on_slice=lambda *_: seen.append(1), is_cancelled=lambda: len(seen) > 3)
    with pytest.raises(Cancelled):
        PropagationLogic().process(volume, segmentation, ["Liver"], progress, target=target, **COPY)
    assert seen and np.array_equal(_masks(volume, segmentation), before) and _tags(segmentation) == tags
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 2
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1


def test_new_segment_and_new_segmentation_leave_the_drawing_alone(case, scene):
    volume, segmentation, _ = case
    drawn = segmentation.GetSegmentation().GetSegment("Liver")
    drawn.SetColor(0.2, 0.4, 0.6)
    drawn.SetTag(drawn.GetTerminologyEntryTagName(), "a~terminology~entry")
    before, logic = _masks(volume, segmentation), PropagationLogic()
    logic.process(volume, segmentation, ["Liver"], target=NEW_SEGMENT, **COPY)
    new_id = segmentation.GetSegmentation().GetNthSegmentID(2)
    new = segmentation.GetSegmentation().GetSegment(new_id)
    assert (new.GetName(), new.GetColor()) == ("Liver propagated", (0.2, 0.4, 0.6))
    assert _terminology(new) == "a~terminology~entry"
    assert read_mask(segmentation, new_id, volume).any(axis=(1, 2)).all()
    assert list(find_annotation(segmentation, new_id, volume).masks) == [9]
    assert np.array_equal(_masks(volume, segmentation), before)
    logic.discard()
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 2
    logic.process(volume, segmentation, ["Liver"], target=NEW_SEGMENTATION, **COPY)
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 2
    found = slicer.util.getNode("Segmentation propagated").GetSegmentation().GetNthSegment(0)
    assert (found.GetName(), found.GetColor(), _terminology(found)) == ("Liver", (0.2, 0.4, 0.6), "a~terminology~entry")
    logic.discard()
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1


def test_range_is_kept_to(case):
    volume, segmentation, _ = case
    PropagationLogic().process(volume, segmentation, ["Liver"], wanted=range(5, 8), **COPY)
    used = np.flatnonzero(read_mask(segmentation, "Liver", volume).any(axis=(1, 2)))
    assert list(used) == [5, 6, 7, 9]
    with pytest.raises(InputError, match="range 5-40"):
        PropagationLogic().process(volume, segmentation, ["Liver"], wanted=range(5, 41), **COPY)


def test_other_segments_and_masks_are_respected(case):
    volume, segmentation, ball = case
    other = np.zeros_like(ball[9])
    other[:, 12:] = True
    write_slice(segmentation, "Kidney", volume, 0, 12, other)
    editor = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    editor.SetOverwriteMode(editor.OverwriteAllSegments)
    logic = PropagationLogic()
    logic.process(volume, segmentation, ["Liver"], editor=editor, **COPY)
    liver, kidney = _masks(volume, segmentation)
    assert np.array_equal(kidney[12], other) and not (liver & kidney).any()
    assert np.array_equal(liver[12], ball[9] & ~other)
    logic.discard()

    editor.SetOverwriteMode(editor.OverwriteNone)
    logic.process(volume, segmentation, ["Liver"], editor=editor, **COPY)
    liver, kidney = _masks(volume, segmentation)
    assert np.array_equal(liver[12], ball[9]) and np.array_equal(kidney[12], other)
    logic.discard()

    editor.SourceVolumeIntensityMaskOn()
    editor.SetSourceVolumeIntensityMaskRange(50, 1000)
    logic.process(volume, segmentation, ["Liver"], editor=editor, **COPY)
    liver = read_mask(segmentation, "Liver", volume)
    bright = slicer.util.arrayFromVolume(volume) >= 50
    assert np.array_equal(liver[12], ball[9] & bright[12]) and np.array_equal(liver[9], ball[9])
    logic.discard()

    editor.SourceVolumeIntensityMaskOff()
    editor.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment)
    editor.SetMaskSegmentID("Kidney")
    logic.process(volume, segmentation, ["Liver"], editor=editor, **COPY)
    liver = read_mask(segmentation, "Liver", volume)
    assert np.array_equal(liver[12], ball[9] & other) and not liver[13].any()


@pytest.mark.parametrize("opened", ["never", "on this one", "on another one"])
def test_other_segments_are_spared_wherever_segment_editor_was_opened(case, scene, opened):
    volume, segmentation, ball = case
    other = np.zeros_like(ball[9])
    other[:, 12:] = True
    write_slice(segmentation, "Kidney", volume, 0, 12, other)
    editor = None if opened == "never" else scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    if opened == "on another one":
        editor.SetAndObserveSegmentationNode(build.segmentation_node(volume, "Spleen"))
        editor.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment)
        editor.SetMaskSegmentID("Spleen")  # the masks of another segmentation mean nothing here
    elif editor is not None:
        editor.SetAndObserveSegmentationNode(segmentation)
    PropagationLogic().process(volume, segmentation, ["Liver"], editor=editor, **COPY)
    liver, kidney = _masks(volume, segmentation)
    assert np.array_equal(kidney[12], other) and np.array_equal(liver[12], ball[9] & ~other)


def test_a_drawing_and_its_new_segment_do_not_hold_each_other_back(case):
    volume, segmentation, ball = case
    logic = PropagationLogic()
    logic.process(volume, segmentation, ["Liver"], **COPY)
    logic.accept()
    logic.process(volume, segmentation, ["Liver"], target=NEW_SEGMENT, **COPY)
    logic.accept()
    new_id = segmentation.GetSegmentation().GetNthSegmentID(2)
    for segment_id in (new_id, "Liver"):
        correction = np.roll(ball[9], 3, 1)
        write_slice(segmentation, segment_id, volume, 0, 13, correction)
        result = logic.process(volume, segmentation, [segment_id], **COPY)[segment_id]
        assert np.array_equal(result.mask[14], correction)
        assert np.array_equal(read_mask(segmentation, segment_id, volume), result.mask)


_NODE, _EDITOR = slicer.vtkMRMLSegmentationNode, slicer.vtkMRMLSegmentEditorNode
_BOUNDS = {
    # mask mode, overwrite mode, and what is left of a mask, given the visible and the hidden segment
    "inside all": (_NODE.EditAllowedInsideAllSegments, _EDITOR.OverwriteNone, lambda m, v, h: m & (v | h)),
    "inside visible": (_NODE.EditAllowedInsideVisibleSegments, _EDITOR.OverwriteNone, lambda m, v, h: m & v),
    "outside all": (_NODE.EditAllowedOutsideAllSegments, _EDITOR.OverwriteNone, lambda m, v, h: m & ~(v | h)),
    "outside visible": (_NODE.EditAllowedOutsideVisibleSegments, _EDITOR.OverwriteNone, lambda m, v, h: m & ~v),
    "spare visible": (_NODE.EditAllowedEverywhere, _EDITOR.OverwriteVisibleSegments, lambda m, v, h: m & ~v),
}


@pytest.mark.parametrize("bounds", _BOUNDS)
def test_each_editable_area_and_overwrite_mode_is_respected(scene, grey, ball, bounds):
    mask_mode, overwrite_mode, left = _BOUNDS[bounds]
    volume = build.volume_node(grey, (0.8, 0.8, 2.5))
    segmentation = build.segmentation_node(volume, "Liver", "Visible", "Hidden")
    write_slice(segmentation, "Liver", volume, 0, 9, ball[9])
    visible, hidden = np.zeros_like(ball[9]), np.zeros_like(ball[9])
    visible[:, 12:15], hidden[:, 15:18] = True, True
    write_slice(segmentation, "Visible", volume, 0, 12, visible)
    write_slice(segmentation, "Hidden", volume, 0, 12, hidden)
    segmentation.GetDisplayNode().SetSegmentVisibility("Hidden", False)
    editor = scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    editor.SetAndObserveSegmentationNode(segmentation)
    editor.SetMaskMode(mask_mode)
    editor.SetOverwriteMode(overwrite_mode)
    PropagationLogic().process(volume, segmentation, ["Liver"], editor=editor, **COPY)
    written = read_mask(segmentation, "Liver", volume)
    assert all((ball[9] & part).any() for part in (visible, hidden, ~visible & ~hidden))
    assert np.array_equal(written[12], left(ball[9], visible, hidden))
    nothing = np.zeros_like(visible)
    assert np.array_equal(written[13], left(ball[9], nothing, nothing)) and np.array_equal(written[9], ball[9])
    for name, mask in (("Visible", visible), ("Hidden", hidden)):
        assert np.array_equal(read_mask(segmentation, name, volume)[12], mask)


def test_masks_hold_for_new_segmentations_and_missing_ones_are_named(case, scene):
    volume, segmentation, ball = case
    half = np.zeros_like(ball[9])
    half[:, 12:] = True
    write_slice(segmentation, "Kidney", volume, 0, 12, half)
    editor = scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    editor.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment)
    editor.SetMaskSegmentID("Kidney")
    logic = PropagationLogic()
    run = logic.start(volume, segmentation, ["Liver"], editor=editor, target=NEW_SEGMENTATION, **COPY)
    target = run.structures["Liver"].preview.target
    run.write("Liver", 12, ball[9])
    assert np.array_equal(read_mask(target.segmentation, target.segment_id, volume)[12], ball[9] & half)
    run.cancel()
    editor.SetMaskSegmentID("gone")
    nodes = scene.GetNumberOfNodes()
    with pytest.raises(InputError, match="mask names a segment that is not there"):
        logic.start(volume, segmentation, ["Liver"], editor=editor, target=NEW_SEGMENTATION, **COPY)
    assert scene.GetNumberOfNodes() == nodes


def test_new_segment_is_not_held_back_by_its_own_source(case):
    volume, segmentation, _ = case
    editor = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    editor.SetOverwriteMode(editor.OverwriteAllSegments)
    logic = PropagationLogic()
    logic.process(volume, segmentation, ["Liver"], **COPY)
    logic.accept()
    result = logic.process(volume, segmentation, ["Liver"], target=NEW_SEGMENT, editor=editor, **COPY)["Liver"]
    new_id = segmentation.GetSegmentation().GetNthSegmentID(2)
    assert np.array_equal(read_mask(segmentation, new_id, volume), result.mask)


def test_each_structure_keeps_its_own_references_and_axis(case):
    volume, segmentation, ball = case
    write_slice(segmentation, "Kidney", volume, 1, 10, ball[:, 10])
    overlap = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    overlap.SetOverwriteMode(overlap.OverwriteNone)
    results = PropagationLogic().process(volume, segmentation, ["Liver", "Kidney"], editor=overlap, **COPY)
    liver, kidney = _masks(volume, segmentation)
    assert np.array_equal(liver, results["Liver"].mask)
    assert np.array_equal(np.moveaxis(kidney, 1, 0), results["Kidney"].mask)


def test_confidence_is_a_table_and_a_plot(case, scene):
    volume, segmentation, _ = case
    result = PropagationLogic().process(volume, segmentation, ["Liver"], **COPY)["Liver"]
    table = scene.GetFirstNodeByClass("vtkMRMLTableNode")
    assert np.allclose(slicer.util.arrayFromTableColumn(table, "Confidence"), result.confidence, atol=1e-3)
    assert table.GetCellText(9, 2) == "annotated" and table.GetCellText(3, 2) == "propagated"
    chart = scene.GetFirstNodeByClass("vtkMRMLPlotChartNode")
    assert chart.GetNumberOfPlotSeriesNodes() == 1


def test_visible_surface_is_made_again(case):
    volume, segmentation, _ = case
    segmentation.CreateClosedSurfaceRepresentation()
    name = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    PropagationLogic().process(volume, segmentation, ["Liver"], **COPY)
    surface = segmentation.GetSegmentation().GetSegment("Liver").GetRepresentation(name)
    assert surface is not None and surface.GetBounds()[5] - surface.GetBounds()[4] > 30


def test_discard_takes_the_visible_surface_back_too(case):
    volume, segmentation, _ = case
    segmentation.CreateClosedSurfaceRepresentation()
    name, content = (
        slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName(),
        segmentation.GetSegmentation(),
    )

    def bounds():
        return content.GetSegment("Liver").GetRepresentation(name).GetBounds()

    before, logic = bounds(), PropagationLogic()
    logic.process(volume, segmentation, ["Liver"], **COPY)
    assert bounds()[5] - bounds()[4] > 30
    logic.discard()
    assert np.allclose(bounds(), before)


def test_discard_makes_no_surface_where_there_was_none(case):
    volume, segmentation, _ = case
    logic = PropagationLogic()
    logic.process(volume, segmentation, ["Liver"], **COPY)
    logic.discard()
    name = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    assert not segmentation.GetSegmentation().ContainsRepresentation(name)


def test_undone_result_is_let_go_with_its_table(case, scene):
    volume, segmentation, _ = case
    logic = PropagationLogic()
    logic.process(volume, segmentation, ["Liver"], **COPY)
    assert logic.drop_undone() == [] and logic.pending
    logic.undo.undo(segmentation)
    assert [target.segment_id for target in logic.drop_undone()] == ["Liver"]
    assert not logic.pending and scene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 0
    assert scene.GetNumberOfNodesByClass("vtkMRMLPlotChartNode") == 0


def test_discard_after_undo_of_a_correction_still_takes_the_first_run_back(case):
    volume, segmentation, ball = case
    logic, before = PropagationLogic(), _masks(volume, segmentation)
    logic.process(volume, segmentation, ["Liver"], **COPY)
    correction = np.roll(ball[12], 2, axis=0)
    write_slice(segmentation, "Liver", volume, 0, 12, correction)
    logic.process(volume, segmentation, ["Liver"], **COPY)
    logic.undo.undo(segmentation)  # back to the first result with the correction drawn on it
    assert logic.drop_undone() and logic.pending and logic.drop_undone() == []
    assert logic.discard() == 1, "the corrected slice is the user's and stays"
    after = _masks(volume, segmentation)
    assert np.array_equal(after[0][12], correction)
    after[0][12] = 0
    assert np.array_equal(after, before)


def test_removed_segment_is_let_go(case):
    volume, segmentation, _ = case
    logic = PropagationLogic()
    logic.process(volume, segmentation, ["Liver"], **COPY)
    segmentation.GetSegmentation().RemoveSegment("Liver")
    assert logic.drop_undone() and not logic.pending


def test_result_of_other_segments_is_kept_and_that_is_told(case):
    volume, segmentation, ball = case
    logic, told = PropagationLogic(), []
    logic.accepted.connect(told.append)
    logic.process(volume, segmentation, ["Liver"], **COPY)
    logic.process(volume, segmentation, ["Liver"], **COPY)
    assert told == []
    write_slice(segmentation, "Kidney", volume, 0, 9, ball[9])
    logic.process(volume, segmentation, ["Kidney"], **COPY)
    assert told == [["Liver"]]


def test_run_on_another_volume_of_the_same_grid_is_taken_back_with_the_first(case, grey):
    volume, segmentation, _ = case
    other = build.volume_node(grey, (0.8, 0.8, 2.5), (5, 10, 15), name="T2")
    logic, told, before = PropagationLogic(), [], _masks(volume, segmentation)
    logic.accepted.connect(told.append)
    logic.process(volume, segmentation, ["Liver"], **COPY)
    logic.process(other, segmentation, ["Liver"], **COPY)
    assert told == [] and logic.discard() == 0
    assert np.array_equal(_masks(volume, segmentation), before)


def test_run_on_another_grid_tells_that_the_first_is_accepted(case, grey):
    volume, segmentation, ball = case
    other = build.volume_node(grey, (0.8, 0.8, 2.5), (5, 10, 15), (0, 0, 2.5), name="T2")
    logic, told = PropagationLogic(), []
    logic.accepted.connect(told.append)
    logic.process(volume, segmentation, ["Liver"], wanted=range(9, 11), **COPY)
    write_slice(segmentation, "Liver", volume, 0, 9, np.roll(ball[9], 1, 0))
    after = _masks(volume, segmentation)
    logic.process(other, segmentation, ["Liver"], **COPY)
    assert told == [["Liver"]]
    logic.discard()
    assert np.array_equal(_masks(volume, segmentation), after), "as it was before the run on the other grid"


def test_colour_volume_and_missing_image_are_refused(case, scene):
    _, segmentation, _ = case
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "nothing")
    with pytest.raises(InputError, match="holds no image"):
        PropagationLogic().process(empty, segmentation, ["Liver"], **COPY)
    colour = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "photo")
    slicer.util.updateVolumeFromArray(colour, np.zeros((4, 5, 6, 3), np.uint8))
    with pytest.raises(InputError, match="3 values per voxel"):
        PropagationLogic().process(colour, segmentation, ["Liver"], **COPY)


def _terminology(segment) -> str:
    text = vtk.reference("")
    segment.GetTag(segment.GetTerminologyEntryTagName(), text)
    return str(text)


def _tags(segmentation) -> list[str]:
    return [repr(find) for find in (_tag(segmentation, i) for i in ("Liver", "Kidney"))]


def _tag(segmentation, segment_id):
    found = []
    for name in ("MedPerSAM.Propagated", "MedPerSAM.Run"):
        text = vtk.reference("")
        found.append((segmentation.GetSegmentation().GetSegment(segment_id).GetTag(name, text), str(text)))
    return found
