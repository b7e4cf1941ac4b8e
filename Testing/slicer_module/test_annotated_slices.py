"""What counts as drawn by the user, on which axis, and what is ours."""

from __future__ import annotations

import numpy as np
import pytest
import scene as build

from MedPerSAMLib.errors import InputError
from MedPerSAMLib.mrml.annotated_slices import find_annotation
from MedPerSAMLib.mrml.segment_writer import write_slice
from MedPerSAMLib.mrml.slice_record import Record, fingerprint


@pytest.fixture
def nodes(scene, grey):
    volume = build.volume_node(grey, (0.8, 0.8, 2.5))
    return volume, build.segmentation_node(volume, "Liver")


@pytest.mark.parametrize("axis, plane", [(0, "axial"), (1, "coronal"), (2, "sagittal")])
def test_axis_comes_from_the_mask(nodes, ball, axis, plane):
    volume, segmentation = nodes
    write_slice(segmentation, "Liver", volume, axis, 11, np.moveaxis(ball, axis, 0)[11])
    found = find_annotation(segmentation, "Liver", volume, view_axis=(axis + 1) % 3)
    assert (found.axis, found.plane, list(found.masks)) == (axis, plane, [11])
    assert found.open_range() == range(found.count)


def test_several_slices_name_their_axis(nodes, ball):
    volume, segmentation = nodes
    for index in (6, 9):
        write_slice(segmentation, "Liver", volume, 0, index, ball[index])
    found = find_annotation(segmentation, "Liver", volume)
    assert (found.axis, sorted(found.masks)) == (0, [6, 9])


def test_view_breaks_a_tie(nodes):
    volume, segmentation = nodes
    line = np.zeros((24, 28), bool)
    line[10, 5:15] = True
    write_slice(segmentation, "Liver", volume, 0, 9, line)
    assert find_annotation(segmentation, "Liver", volume, view_axis=1).axis == 1
    assert find_annotation(segmentation, "Liver", volume, view_axis=0).axis == 0


def test_a_solid_body_is_refused_with_the_remedy(nodes, ball):
    volume, segmentation = nodes
    for index, mask in enumerate(ball):
        write_slice(segmentation, "Liver", volume, 0, index, mask)
    with pytest.raises(InputError, match="not drawn slice by slice"):
        find_annotation(segmentation, "Liver", volume)


def test_empty_segment_says_so(nodes):
    with pytest.raises(InputError, match="Liver is empty on CT"):
        find_annotation(nodes[1], "Liver", nodes[0])


def test_edited_painted_and_cleared_slices_are_recognised(nodes, ball):
    volume, segmentation = nodes
    write_slice(segmentation, "Liver", volume, 0, 9, ball[9])
    record = Record(0, ball.shape)
    for index in (6, 7, 8, 10, 11):
        write_slice(segmentation, "Liver", volume, 0, index, ball[index])
        record.slices[index] = fingerprint(ball[index])
    record.keep_in(segmentation.GetSegmentation().GetSegment("Liver"))
    found = find_annotation(segmentation, "Liver", volume)
    assert (sorted(found.masks), sorted(found.propagated)) == ([9], [6, 7, 8, 10, 11])

    edited = ball[7].copy()
    edited[np.argwhere(edited)[0][0], np.argwhere(edited)[0][1]] = False
    write_slice(segmentation, "Liver", volume, 0, 7, edited)  # one pixel less
    write_slice(segmentation, "Liver", volume, 0, 13, ball[12])  # newly painted
    write_slice(segmentation, "Liver", volume, 0, 6, np.zeros_like(edited))  # emptied
    found = find_annotation(segmentation, "Liver", volume)
    assert sorted(found.masks) == [7, 9, 13]
    assert (sorted(found.propagated), sorted(found.cleared)) == ([8, 10, 11], [6])
    assert found.open_range() == range(7, 20), "a cleared slice ends the structure there"
    assert found.open_range(range(8, 12)) == range(7, 14), "widened to what is annotated"


@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.8, 0.8, 2.5)])
def test_oblique_grid_is_warned_about(scene, grey, ball, spacing):
    volume = build.volume_node(grey, spacing)
    grid = build.volume_node(np.zeros_like(grey), spacing, (5, 0, 0), name="grid")
    segmentation = build.segmentation_node(grid, "Liver")
    drawn = np.zeros_like(ball)
    drawn[9] = ball[9]
    build.paint(segmentation, "Liver", grid, drawn)
    assert "turned by 5 degrees" in find_annotation(segmentation, "Liver", volume).warnings[0]


def test_record_survives_a_file(nodes, ball, tmp_path):
    """Saved and loaded as .seg.nrrd, a corrected case still knows which slices were the user's."""
    import slicer

    volume, segmentation = nodes
    write_slice(segmentation, "Liver", volume, 0, 9, ball[9])
    Record(0, ball.shape, {3: "ab"}).keep_in(segmentation.GetSegmentation().GetSegment("Liver"))
    storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(tmp_path / "case.seg.nrrd"))
    assert storage.WriteData(segmentation)
    loaded = build.segmentation_node(None)
    assert storage.ReadData(loaded)
    assert Record.of(loaded.GetSegmentation().GetSegment("Liver")) == Record(0, ball.shape, {3: "ab"})
