"""Frames and the working grid: there and back without a shift, on anisotropic and non-square slices."""

import numpy as np
import pytest
import torch

from MedPerSAMLib.core.frame import Frame, mask_extent
from MedPerSAMLib.core.grid import WorkingGrid
from MedPerSAMLib.core.overlap import dice


def _blob(shape, centre, radii):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return ((rows + 0.5 - centre[0]) / radii[0]) ** 2 + ((columns + 0.5 - centre[1]) / radii[1]) ** 2 < 1


@pytest.mark.parametrize("shape,spacing", [((100, 160), (1.0, 1.0)), ((40, 200), (5.0, 1.0)), ((180, 90), (0.8, 1.6))])
def test_a_mask_survives_the_full_frame_and_back(shape, spacing):
    mask = _blob(shape, (shape[0] * 0.6, shape[1] * 0.4), (shape[0] * 0.2, shape[1] * 0.2))
    frame = Frame.full(shape, spacing, 256)
    there = frame.sample(torch.from_numpy(mask.astype(np.float32))[None, None])
    back = frame.restore(there, shape, 0.0)[0, 0].numpy() > 0.5
    assert dice(back, mask) > 0.97
    assert np.abs(np.argwhere(back).mean(0) - np.argwhere(mask).mean(0)).max() < 0.1


def test_the_frame_is_square_in_millimetres_and_padded_at_the_bottom():
    frame = Frame.full((40, 200), (2.0, 1.0), 100)
    image = torch.ones(1, 1, 40, 200)
    seen = frame.sample(image)[0, 0] > 0
    assert seen[:40].all() and not seen[41:].any()


def test_a_zoomed_frame_gives_more_pixels_and_comes_back_in_place():
    mask = _blob((200, 200), (150, 60), (8, 5))
    frame = Frame.around((150, 60), 40, (1.0, 1.0), 128)
    there = frame.sample(torch.from_numpy(mask.astype(np.float32))[None, None])
    assert float((there > 0.5).sum()) == pytest.approx(mask.sum() * (128 / 40) ** 2, rel=0.05)
    assert dice(frame.restore(there, mask.shape, 0.0)[0, 0].numpy() > 0.5, mask) > 0.97


def test_points_go_where_pixels_go():
    frame = Frame.around((30.5, 40.5), 20, (1.0, 1.0), 64)
    assert frame.to_frame(np.array([30.5, 40.5])) == pytest.approx([32, 32])


def test_extent_counts_whole_pixels():
    mask = np.zeros((10, 10), bool)
    mask[2:5, 7:8] = True
    assert mask_extent(mask) == ((3.5, 7.5), (3.0, 1.0))


def test_the_working_grid_has_square_pixels_of_a_bounded_number():
    grid = WorkingGrid.of((40, 512), (5.0, 0.7), longest=256)
    assert max(grid.shape) == 256
    assert grid.shape[0] * grid.pixel == pytest.approx(200, rel=0.02)
    mask = _blob((40, 512), (20, 200), (12, 90))
    back = grid.to_native(grid.mask_from_native(mask).astype(np.float32)[None])[0] > 0.5
    assert dice(back, mask) > 0.95


def test_a_structure_thinner_than_a_working_pixel_is_not_lost():
    grid = WorkingGrid.of((1024, 1024), (1.0, 1.0), longest=256)
    mask = np.zeros((1024, 1024), bool)
    mask[500:502, 500:502] = True
    assert grid.mask_from_native(mask).any()
