"""An unchanged segment is not read again, and no change is missed."""

from __future__ import annotations

import numpy as np
import pytest
import scene as build
import slicer

from MedPerSAMLib.errors import InputError, NothingDrawn
from MedPerSAMLib.mrml import annotated_slices
from MedPerSAMLib.mrml.annotated_slices import find_annotation
from MedPerSAMLib.mrml.logic import PropagationLogic
from MedPerSAMLib.mrml.segment_reader import image_on, slice_extent
from MedPerSAMLib.mrml.segment_writer import write_slice
from MedPerSAMLib.mrml.slice_record import Record, forget


@pytest.fixture
def looks(scene, grey, ball, monkeypatch):
    """Volume, segmentation with Liver drawn on slice 9, and the segments that were read since."""
    volume = build.volume_node(grey, (0.8, 0.8, 2.5))
    segmentation, read = build.segmentation_node(volume, "Liver", "Kidney"), []
    write_slice(segmentation, "Liver", volume, 0, 9, ball[9])
    real = annotated_slices.read_box

    def counted(node, segment_id, of):
        read.append(segment_id)
        return real(node, segment_id, of)

    monkeypatch.setattr(annotated_slices, "read_box", counted)
    return volume, segmentation, read


def test_an_unchanged_segment_is_not_read_again(looks, ball):
    volume, segmentation, read = looks
    first = find_annotation(segmentation, "Liver", volume)
    assert find_annotation(segmentation, "Liver", volume) is first and read == ["Liver"]
    PropagationLogic().process(volume, segmentation, ["Liver"], method="copy", device="cpu")
    write_slice(segmentation, "Liver", volume, 0, 9, np.zeros_like(ball[9]))
    del read[:]
    for _ in range(3):
        with pytest.raises(NothingDrawn, match="holds only what was found"):
            find_annotation(segmentation, "Liver", volume)
        with pytest.raises(InputError, match="Kidney is empty on CT"):
            find_annotation(segmentation, "Kidney", volume)
    assert read == ["Liver", "Kidney"]


def _brush(volume, segmentation, ball):
    """As Segment Editor's effects paint."""
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    image = image_on(volume, slice_extent(volume, 0, 12), ball[12])
    assert logic.SetBinaryLabelmapToSegment(image, segmentation, "Liver", logic.MODE_MERGE_MASK, image.GetExtent())


def _move(volume, segmentation, ball):
    transform = build.linear_transform((0, 0, 2.5))
    volume.SetAndObserveTransformNodeID(transform.GetID())


CHANGES = {
    "a slice is written": lambda v, s, ball: write_slice(s, "Liver", v, 0, 12, ball[12]),
    "the brush": _brush,
    "one voxel in place": lambda v, s, ball: write_slice(
        s, "Liver", v, 0, 9, ball[9] & (np.indices(ball[9].shape)[0] > 5)
    ),
    "another name": lambda v, s, ball: s.GetSegmentation().GetSegment("Liver").SetName("Lung"),
    "another memory": lambda v, s, ball: forget(s.GetSegmentation().GetSegment("Liver")),
    "another place": _move,
    "another volume's name": lambda v, s, ball: v.SetName("MR"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_no_change_is_missed(looks, ball, change):
    volume, segmentation, read = looks
    Record(0, ball.shape, {3: "ab"}).keep_in(segmentation.GetSegmentation().GetSegment("Liver"))
    find_annotation(segmentation, "Liver", volume)
    CHANGES[change](volume, segmentation, ball)
    find_annotation(segmentation, "Liver", volume)
    assert read == ["Liver", "Liver"]


def test_undo_and_redo_are_not_missed(looks, ball):
    volume, segmentation, _ = looks
    logic = PropagationLogic()
    for step in (1, 2):
        logic.undo.save(segmentation, volume)
        write_slice(segmentation, "Liver", volume, 0, 9 + step, ball[9 + step])
        find_annotation(segmentation, "Liver", volume)
    seen = []
    for move in (logic.undo.undo, logic.undo.undo, logic.undo.redo, logic.undo.redo):
        assert move(segmentation)
        seen.append(sorted(find_annotation(segmentation, "Liver", volume).masks))
    assert seen == [[9, 10], [9], [9, 10], [9, 10, 11]]


def test_each_view_and_volume_is_a_look_of_its_own(looks, ball):
    volume, segmentation, _ = looks
    line = np.zeros_like(ball[9])
    line[10, 5:15] = True
    write_slice(segmentation, "Kidney", volume, 0, 9, line)
    other = build.volume_node(np.zeros((20, 12, 28), np.int16), (0.8, 0.8, 2.5))
    assert [find_annotation(segmentation, "Kidney", volume, view).axis for view in (0, 1, 0)] == [0, 1, 0]
    assert find_annotation(segmentation, "Kidney", other, 1).count == 12
