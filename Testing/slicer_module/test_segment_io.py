"""Reading and writing segments on real MRML: exact to the voxel wherever grids and transforms allow it."""

from __future__ import annotations

import numpy as np
import pytest
import scene as build
import slicer
import vtk

from MedPerSAMLib.errors import InputError
from MedPerSAMLib.mrml.geometry import matrix_array, volume_to_world
from MedPerSAMLib.mrml.segment_reader import match_grids, read_mask, read_slice, read_union, stored_labels
from MedPerSAMLib.mrml.segment_writer import make_room, trim, write_slice

OBLIQUE, ANISOTROPIC = (10.0, 20.0, 30.0), (0.7, 0.9, 3.0)
SHIFT, TURN = ((8.0, -3.0, 2.0), 0.0), ((4.0, 1.0, 0.0), 25.0)
CASES = {
    "plain": ((0, 0, 0), (1, 1, 1), None, None),
    "oblique anisotropic": (OBLIQUE, ANISOTROPIC, None, None),
    "flipped": ((180, 0, 0), ANISOTROPIC, None, None),
    "volume moved": (OBLIQUE, ANISOTROPIC, SHIFT, None),
    "segmentation moved": (OBLIQUE, ANISOTROPIC, None, SHIFT),
    "volume turned": (OBLIQUE, ANISOTROPIC, TURN, None),
    "both moved and turned": (OBLIQUE, ANISOTROPIC, TURN, ((0, 3, 0), -10.0)),
}


def write_mask(segmentation, segment_id: str, volume, mask: np.ndarray) -> None:
    """Write all slices."""
    for index, part in enumerate(mask):
        write_slice(segmentation, segment_id, volume, 0, index, part)


def _nodes(case: str, shape=(9, 12, 15)):
    rotation, spacing, move_volume, move_segmentation = CASES[case]
    volume = build.volume_node(np.zeros(shape, np.int16), spacing, rotation, (5, -7, 11))
    segmentation = build.segmentation_node(volume, "first", "second")
    for node, move in ((volume, move_volume), (segmentation, move_segmentation)):
        if move is not None:
            node.SetAndObserveTransformNodeID(build.linear_transform(*move).GetID())
    return volume, segmentation


def _in_world(segmentation, segment_id: str, points: np.ndarray) -> np.ndarray:
    """Whether world points (n, 3) lie in a segment: the labelmap sampled by matrix arithmetic alone, as an independent
    witness."""
    segment = segmentation.GetSegmentation().GetSegment(segment_id)
    labels = stored_labels(segment)
    image_to_node, node_to_world = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    labels.GetImageToWorldMatrix(image_to_node)
    parent = segmentation.GetParentTransformNode()
    if parent is not None:
        parent.GetMatrixTransformToWorld(node_to_world)
    to_image = np.linalg.inv(matrix_array(node_to_world) @ matrix_array(image_to_node))
    ijk = np.rint((to_image[:3, :3] @ points.T).T + to_image[:3, 3]).astype(int) - np.array(labels.GetExtent()[::2])
    values = vtk.util.numpy_support.vtk_to_numpy(labels.GetPointData().GetScalars()).reshape(
        labels.GetDimensions()[::-1]
    )
    inside = ((ijk >= 0) & (ijk < np.array(labels.GetDimensions()))).all(axis=1)
    found = np.zeros(len(points), bool)
    i, j, k = ijk[inside].T
    found[inside] = values[k, j, i] == segment.GetLabelValue()
    return found


def _voxel_centres(volume) -> np.ndarray:
    shape = slicer.util.arrayFromVolume(volume).shape
    k, j, i = np.indices(shape).reshape(3, -1)
    return (volume_to_world(volume) @ np.stack([i, j, k, np.ones_like(i)]))[:3].T


@pytest.mark.parametrize("axis", [0, 1, 2], ids=["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("case", CASES)
def test_slices_land_on_their_voxels(scene, case, axis):
    """Both segments of a layer, written slice by slice and rewritten, read back exactly and lie where the volume has
    them."""
    volume, segmentation = _nodes(case)
    random = np.random.default_rng(axis)
    for segment_id in ("second", "first", "second"):
        truth = random.random((9, 12, 15)) > 0.6
        for index, mask in enumerate(np.moveaxis(truth, axis, 0)):
            write_slice(segmentation, segment_id, volume, axis, index, mask)
        assert np.array_equal(read_mask(segmentation, segment_id, volume), truth)
        assert np.array_equal(_in_world(segmentation, segment_id, _voxel_centres(volume)), truth.reshape(-1))


def test_agrees_with_slicer_where_slicer_is_exact(scene):
    volume, segmentation = _nodes("volume moved")
    truth = np.random.default_rng(1).random((9, 12, 15)) > 0.6
    write_mask(segmentation, "first", volume, truth)
    assert np.array_equal(slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, "first", volume).astype(bool), truth)


@pytest.mark.parametrize(
    "spacing, origin, exact",
    [
        ((1, 1, 1), (2, 3, 1), True),
        ((0.5, 0.5, 0.5), (2.25, 3.25, 1.25), True),
        ((1 / 3, 1 / 3, 1 / 3), (2, 3, 1), True),
    ],
    ids=["cropped", "finer 2", "finer 3"],
)
def test_own_geometry_is_kept(scene, spacing, origin, exact):
    """A segment on its own grid keeps that grid, its drawn voxels, and takes the volume's slices exactly where it
    can."""
    volume = build.volume_node(np.zeros((9, 12, 15), np.int16))
    grid = build.volume_node(np.zeros((6, 9, 9), np.int16), spacing, (0, 0, 0), origin, "grid")
    segmentation = build.segmentation_node(grid, "first", "second")
    drawn = np.zeros((6, 9, 9), bool)
    drawn[1:3, 2:6, 3:8] = True
    build.paint(segmentation, "second", grid, drawn)
    truth = np.random.default_rng(2).random((12, 15)) > 0.5
    write_slice(segmentation, "second", volume, 0, 7, truth)
    after = read_mask(segmentation, "second", volume)
    assert np.array_equal(after[7], truth) is exact
    assert np.allclose(stored_labels(segmentation.GetSegmentation().GetSegment("second")).GetSpacing(), spacing)
    kept = read_mask(segmentation, "second", grid)
    assert np.array_equal(kept & drawn, drawn), "what was drawn on the finer grid has been resampled"


def test_turned_grid_leaves_distant_slices_alone(scene):
    """On a turned grid a voxel may be nearest to one of the neighbouring slice, which the user is warned of; no
    further."""
    volume = build.volume_node(np.zeros((12, 20, 20), np.int16))
    grid = build.volume_node(np.zeros((12, 20, 20), np.int16), (1, 1, 1), (15, 0, 0), name="grid")
    segmentation = build.segmentation_node(grid, "first")
    drawn = np.zeros((12, 20, 20), bool)
    drawn[4, 5:12, 5:12] = True
    build.paint(segmentation, "first", grid, drawn)
    assert match_grids(segmentation, "first", volume).degrees == pytest.approx(15)
    for mask in (np.ones((20, 20), bool), np.zeros((20, 20), bool)):
        before = read_mask(segmentation, "first", volume)
        write_slice(segmentation, "first", volume, 0, 9, mask)
        after = read_mask(segmentation, "first", volume)
        assert np.array_equal(np.delete(before, [8, 9, 10], 0), np.delete(after, [8, 9, 10], 0))


def test_overlapping_segments_do_not_disturb_each_other(scene):
    volume, segmentation = _nodes("plain")
    truth = {i: np.random.default_rng(n).random((9, 12, 15)) > 0.4 for n, i in enumerate(("first", "second"))}
    for segment_id, mask in truth.items():
        for index, part in enumerate(mask):
            write_slice(segmentation, segment_id, volume, 0, index, part)
    for segment_id, mask in truth.items():
        assert np.array_equal(read_mask(segmentation, segment_id, volume), mask)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("case", ["plain", "both moved and turned"])
def test_union_is_that_of_the_segments(scene, case, axis):
    volume, segmentation = _nodes(case)
    random, third = np.random.default_rng(axis), segmentation.GetSegmentation().AddEmptySegment("third")
    one = random.random((9, 12, 15)) > 0.7
    masks = {"first": one, "second": ~one & (random.random(one.shape) > 0.6), third: random.random(one.shape) > 0.8}
    for segment_id, mask in masks.items():
        write_mask(segmentation, segment_id, volume, mask)  # two share a layer, the third overlaps both
    seen = build.volume_node(np.zeros(one.shape, np.int16), ANISOTROPIC, (0, 0, 5), (5, -7, 11))  # another grid
    for grid in (volume, seen):
        for wanted in (["first", "second"], list(masks), []):
            each = [read_slice(segmentation, segment_id, grid, axis, 4) for segment_id in wanted]
            union = read_union(segmentation, wanted, grid, axis, 4)
            assert np.array_equal(union, np.any(each, axis=0) if each else np.zeros(union.shape, bool))


def test_names_colours_and_terminology_stay(scene):
    volume, segmentation = _nodes("plain")
    segment = segmentation.GetSegmentation().GetSegment("first")
    segment.SetName("Liver, left")
    segment.SetColor(0.1, 0.2, 0.3)
    segment.SetTag(segment.GetTerminologyEntryTagName(), "a~terminology~entry")
    write_mask(segmentation, "first", volume, np.ones((9, 12, 15), bool))
    text = vtk.reference("")
    segment.GetTag(segment.GetTerminologyEntryTagName(), text)
    assert (segment.GetName(), segment.GetColor(), str(text)) == ("Liver, left", (0.1, 0.2, 0.3), "a~terminology~entry")


def test_reference_geometry_is_set_only_where_there_is_none(scene):
    volume = build.volume_node(np.zeros((9, 12, 15), np.int16))
    segmentation = build.segmentation_node(None, "first")
    write_slice(segmentation, "first", volume, 0, 2, np.ones((12, 15), bool))
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    assert segmentation.GetNodeReference(role) is volume
    other = build.volume_node(np.zeros((9, 12, 15), np.int16), name="other")
    write_slice(segmentation, "first", other, 0, 3, np.ones((12, 15), bool))
    assert segmentation.GetNodeReference(role) is volume


def test_non_linear_transform_is_refused(scene):
    volume, segmentation = _nodes("plain")
    bent = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "Warp")
    spline = slicer.vtkOrientedBSplineTransform()
    coefficients = vtk.vtkImageData()
    coefficients.SetDimensions(4, 4, 4)
    coefficients.AllocateScalars(vtk.VTK_DOUBLE, 3)
    vtk.util.numpy_support.vtk_to_numpy(coefficients.GetPointData().GetScalars())[:] = 1.5
    spline.SetCoefficientData(coefficients)
    bent.SetAndObserveTransformToParent(spline)
    segmentation.SetAndObserveTransformNodeID(bent.GetID())
    with pytest.raises(InputError, match="'Warp' is not linear.*[Hh]arden") as error:
        write_slice(segmentation, "first", volume, 0, 2, np.ones((12, 15), bool))
    assert "same transform" not in str(error.value), "a volume under it is refused as well"
    assert stored_labels(segmentation.GetSegmentation().GetSegment("first")) is None


def test_room_is_made_and_given_back(scene):
    volume, segmentation = _nodes("plain")
    mask = np.zeros((12, 15), bool)
    mask[3:6, 4:9] = True
    write_slice(segmentation, "first", volume, 0, 4, mask)
    make_room(segmentation, "first", volume, 0, range(1, 9))
    labels = stored_labels(segmentation.GetSegmentation().GetSegment("first"))
    assert labels.GetExtent() == (0, 14, 0, 11, 1, 8)
    write_slice(segmentation, "first", volume, 0, 6, mask)
    trim(segmentation, "first")
    assert labels.GetExtent() == (4, 8, 3, 5, 4, 6)
    assert read_mask(segmentation, "first", volume).sum() == 2 * mask.sum()


def test_nothing_is_left_in_the_scene(scene):
    volume, segmentation = _nodes("plain")
    before = scene.GetNumberOfNodes()
    write_mask(segmentation, "first", volume, np.ones((9, 12, 15), bool))
    read_mask(segmentation, "first", volume)
    assert scene.GetNumberOfNodes() == before
