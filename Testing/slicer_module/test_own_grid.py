"""Segments on a grid of their own along the volume's axes: finer slices in a thick one are found, kept and taken back
exactly."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scene as build
import slicer
import vtk

from MedPerSAMLib.mrml.annotated_slices import find_annotation
from MedPerSAMLib.mrml.geometry import matrix_array
from MedPerSAMLib.mrml.logic import PropagationLogic
from MedPerSAMLib.mrml.own_grid import OwnGrid
from MedPerSAMLib.mrml.segment_reader import read_mask, stored_labels
from MedPerSAMLib.mrml.segment_writer import write_slice

SHAPE, DRAWN = (8, 16, 18), 3
TURNED = (10.0, 20.0, 30.0)
POSES = {
    "plain": ((0, 0, 0), None, None),
    "oblique": (TURNED, None, None),
    "volume moved": (TURNED, ((8, -3, 2), 0), None),
    "both moved and turned": (TURNED, ((4, 1, 0), 25), ((0, 3, 0), -10)),
}
FINER = {
    "2x": (2, 2, 2),
    "2x in plane": (1, 2, 2),
    "2x across": (2, 1, 1),
    "3x": (3, 3, 3),
    "4x": (4, 4, 4),
    "4x in plane": (1, 4, 4),
    "4x across": (4, 1, 1),
}


def _case(finer, pose: str, fine_slice: int):
    """Volume, segmentation with its own finer grid, a volume node of that grid, and what was drawn on it."""
    rotation, move_volume, move_segmentation = POSES[pose]
    noise = np.random.default_rng(0).normal(0, 5, SHAPE).astype(np.int16)
    volume = build.volume_node(noise, (1, 1, 2.5), rotation, (5, -7, 11))
    shape = tuple(n * f for n, f in zip(SHAPE, finer))
    grid = build.volume_node(np.zeros(shape, np.int16), name="grid")
    to_world = [np.eye(4), np.eye(4)]
    for n, (node, move) in enumerate(((volume, move_volume), (grid, move_segmentation))):
        if move is not None:
            transform = build.linear_transform(*move)
            to_world[n] = matrix_array(transform.GetMatrixTransformToParent())
            node.SetAndObserveTransformNodeID(transform.GetID())
    ijk_to_ras, fine_to_coarse = vtk.vtkMatrix4x4(), np.eye(4)
    volume.GetIJKToRASMatrix(ijk_to_ras)
    for axis, f in enumerate(reversed(finer)):  # the outer faces of both grids coincide
        fine_to_coarse[axis, axis], fine_to_coarse[axis, 3] = 1 / f, (1 / f - 1) / 2
    own = np.linalg.inv(to_world[1]) @ to_world[0] @ matrix_array(ijk_to_ras) @ fine_to_coarse
    ijk_to_ras.DeepCopy(own.ravel())
    grid.SetIJKToRASMatrix(ijk_to_ras)
    segmentation = build.segmentation_node(grid, "Liver")
    segmentation.SetAndObserveTransformNodeID(grid.GetTransformNodeID())
    drawn = np.zeros(shape, bool)
    k, j, i = finer
    drawn[DRAWN * k + fine_slice, 4 * j : 9 * j + 1, 5 * i + i - 1 : 12 * i] = True
    build.paint(segmentation, "Liver", grid, drawn)
    return volume, segmentation, grid, drawn


@pytest.mark.parametrize("pose", POSES)
@pytest.mark.parametrize("finer, fine_slice", [(f, n) for f in FINER for n in range(FINER[f][0])])
def test_a_drawing_on_any_finer_slice_is_found_before_and_after_a_run(scene, finer, fine_slice, pose):
    volume, segmentation, grid, drawn = _case(FINER[finer], pose, fine_slice)
    before = find_annotation(segmentation, "Liver", volume)
    assert list(before.masks) == [DRAWN]
    assert before.masks[DRAWN].sum() == 6 * 7
    logic = PropagationLogic()
    result = logic.process(volume, segmentation, ["Liver"], method="copy", device="cpu")["Liver"]
    after = find_annotation(segmentation, "Liver", volume)
    assert list(after.masks) == [DRAWN] and np.array_equal(after.masks[DRAWN], before.masks[DRAWN])
    assert after.propagated == frozenset(range(SHAPE[0])) - {DRAWN} and not after.cleared
    assert np.array_equal(read_mask(segmentation, "Liver", volume), result.mask)

    fine = read_mask(segmentation, "Liver", grid)
    blocks = result.mask
    for axis, f in enumerate(FINER[finer]):
        blocks = blocks.repeat(f, axis)
    thick = slice(DRAWN * FINER[finer][0], (DRAWN + 1) * FINER[finer][0])
    blocks[thick] = drawn[thick]
    assert np.array_equal(fine, blocks), "whole voxels are written, and what was drawn stays to the finer voxel"
    assert logic.discard() == 0 and np.array_equal(read_mask(segmentation, "Liver", grid), drawn)


@pytest.mark.parametrize("finer", FINER)
def test_any_extent_of_the_array_reads_the_same(scene, finer):
    volume, segmentation, *_ = _case(FINER[finer], "oblique", 0)
    labels = stored_labels(segmentation.GetSegmentation().GetSegment("Liver"))
    before, small = read_mask(segmentation, "Liver", volume), labels.GetExtent()
    write_slice(segmentation, "Liver", volume, 0, 7, np.ones(SHAPE[1:], bool))
    write_slice(segmentation, "Liver", volume, 0, 0, np.ones(SHAPE[1:], bool))
    assert labels.GetExtent() != small
    assert np.array_equal(read_mask(segmentation, "Liver", volume)[1:7], before[1:7])


@pytest.mark.parametrize("seed", range(40))
def test_agrees_with_voxel_by_voxel(seed):
    """Permuted, flipped, finer and coarser grids against loops; what is spread reads back."""
    random = np.random.default_rng(seed)
    shape = (4, 5, 6)
    matrix, order = np.eye(4), random.permutation(3)
    matrix[:3, :3] = 0
    for column, row in enumerate(order):
        matrix[row, column] = random.choice([-1, 1]) * random.choice([0.5, 1, 1.5, 2, 3, 4])
        matrix[row, 3] = random.choice([0, 0.5, 2.25, -3])
    own, change = OwnGrid.of(matrix, shape), random.random(shape) > 0.5
    whole = (0, 5, 0, 4, 0, 3)
    spread = own.spread(whole, change)
    assert spread is not None
    labels = slicer.vtkOrientedImageData()
    labels.SetExtent(spread[0])
    labels.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    values = vtk.util.numpy_support.vtk_to_numpy(labels.GetPointData().GetScalars())
    values[:] = np.ascontiguousarray(spread[1]).ravel()
    back, first, filled = np.linalg.inv(matrix), np.array(spread[0][::2]), np.zeros(shape, bool)
    for place in itertools.product(*map(range, spread[1].shape)):
        ijk = np.array(place[::-1]) + first + 2e-3  # a centre on a border belongs to the voxel that begins there
        at = tuple(np.rint((back @ [*ijk, 1])[2::-1]).astype(int))
        assert spread[1][place] == change[at]
        filled[at] = True
    read = own.read(labels, 1, whole)
    assert np.array_equal(read[filled], change[filled])
    part = own.read(labels, 1, (1, 3, 2, 4, 0, 1))
    assert np.array_equal(part, read[0:2, 2:5, 1:4])
    covered = own.covered(labels)
    assert not np.delete(read, range(covered[4], covered[5] + 1), 0).any()


def test_a_turned_grid_is_not_one_of_these():
    turned = np.eye(4)
    turned[:2, :2] = [[np.cos(0.01), -np.sin(0.01)], [np.sin(0.01), np.cos(0.01)]]
    assert OwnGrid.of(turned, (50, 50, 50)) is None
