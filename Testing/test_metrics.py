"""The figures that methods are judged by, against cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from MedPerSAMLib.services.evaluation import metrics

SPACING = (5.0, 1.0, 2.0)


def box(shape: tuple[int, int, int], low: tuple[int, int, int], high: tuple[int, int, int]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, b) for a, b in zip(low, high))] = True
    return mask


@pytest.fixture
def blobs() -> tuple[np.ndarray, np.ndarray]:
    """Two smooth random shapes that overlap in part, touching the volume's border."""
    random = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(random.normal(size=(14, 30, 34)), 3)
    shifted = ndimage.gaussian_filter(random.normal(size=smooth.shape), 2) * 0.6 + smooth
    return smooth > 0.01, shifted > 0.01


def test_dice_counts_overlap_twice():
    first = box((4, 4, 4), (0, 0, 0), (2, 4, 4))
    second = box((4, 4, 4), (1, 0, 0), (3, 4, 4))
    assert metrics.dice(first, second) == 0.5
    assert metrics.intersection_over_union(first, second) == pytest.approx(1 / 3)


def test_two_empty_masks_agree_and_one_alone_does_not():
    nothing, something = np.zeros((3, 4, 5), bool), box((3, 4, 5), (1, 1, 1), (2, 3, 3))
    assert metrics.dice(nothing, nothing) == metrics.intersection_over_union(nothing, nothing) == 1.0
    assert metrics.dice(nothing, something) == 0.0
    assert metrics.surface_agreement(nothing, nothing, SPACING) == metrics.SurfaceAgreement(1.0, 0.0)
    diagonal = np.linalg.norm([15, 4, 10])
    for pair in ((nothing, something), (something, nothing)):
        missed = metrics.surface_agreement(*pair, SPACING)
        assert (missed.nsd, missed.hd95) == (0.0, pytest.approx(diagonal))


def test_slice_dice_is_undefined_where_both_slices_are_empty():
    prediction, truth = box((4, 6, 6), (1, 0, 0), (3, 2, 2)), box((4, 6, 6), (2, 0, 0), (4, 2, 2))
    assert metrics.slice_dice(prediction, truth) == pytest.approx([np.nan, 0, 1, 0], nan_ok=True)


def test_false_continuation_is_the_share_on_slices_without_the_structure():
    truth, prediction = box((6, 5, 5), (1, 0, 0), (3, 5, 5)), box((6, 5, 5), (1, 0, 0), (5, 5, 5))
    assert metrics.false_continuation(prediction, truth) == 0.5
    assert metrics.false_continuation(np.zeros_like(truth), truth) == 0.0


@pytest.mark.parametrize(("axis", "millimetres"), [(0, 5.0), (1, 1.0), (2, 2.0)])
def test_distances_are_in_millimetres_along_each_axis(axis, millimetres):
    truth = box((12, 12, 12), (4, 4, 4), (5, 5, 5))
    agreement = metrics.surface_agreement(np.roll(truth, 1, axis), truth, SPACING)
    assert agreement.hd95 == pytest.approx(millimetres)
    assert agreement.nsd == (1.0 if millimetres <= metrics.NSD_TOLERANCE_MM else 0.0)


def test_distances_equal_those_of_whole_distance_maps(blobs):
    agreement = metrics.surface_agreement(*blobs, SPACING)
    surfaces = [mask & ~ndimage.binary_erosion(np.pad(mask, 1))[1:-1, 1:-1, 1:-1] for mask in blobs]
    maps = [ndimage.distance_transform_edt(~surface, sampling=SPACING) for surface in surfaces]
    distances = [maps[1][surfaces[0]], maps[0][surfaces[1]]]
    close = sum((part <= 2.0).sum() for part in distances)
    assert agreement.nsd == pytest.approx(close / sum(map(len, distances)))
    assert agreement.hd95 == pytest.approx(max(np.percentile(part, 95) for part in distances))


def test_distances_agree_with_simpleitk(blobs):
    import SimpleITK

    images = [SimpleITK.GetImageFromArray(mask.astype(np.uint8)) for mask in blobs]
    for image in images:
        image.SetSpacing(SPACING[::-1])
    maps = [
        SimpleITK.GetArrayFromImage(
            SimpleITK.Abs(SimpleITK.SignedMaurerDistanceMap(image, squaredDistance=False, useImageSpacing=True))
        )
        for image in images
    ]
    # Maurer's map is zero on the surface voxels inside the mask, except where the mask meets the volume's border.
    inner = np.zeros(blobs[0].shape, bool)
    inner[1:-1, 1:-1, 1:-1] = True
    distances = [maps[1 - i][mask & inner & ~ndimage.binary_erosion(mask)] for i, mask in enumerate(blobs)]
    cut = [mask & inner for mask in blobs]
    agreement = metrics.surface_agreement(*cut, SPACING)
    assert agreement.hd95 == pytest.approx(max(np.percentile(part, 95) for part in distances), abs=max(SPACING))


def test_given_slices_are_not_scored_and_open_no_surface():
    truth = box((9, 10, 10), (2, 2, 2), (7, 8, 8))
    wrong = truth.copy()
    wrong[4] = False
    wrong[4, 0, 0] = True
    assert metrics.surface_agreement(wrong, truth, (1.0, 1.0, 1.0)).nsd < 1
    kept = truth.copy()
    kept[6] = False
    assert metrics.surface_agreement(truth, truth, SPACING, skip=[4]) == metrics.SurfaceAgreement(1.0, 0.0)
    with_skip = metrics.surface_agreement(kept, truth, SPACING, skip=[4])
    assert 0 < with_skip.nsd < 1
    assert with_skip.hd95 == pytest.approx(5.0)


def test_spearman_needs_an_order_to_compare():
    assert metrics.spearman(np.array([1.0, 2, 3, 4]), np.array([10.0, 20, 30, 50])) == pytest.approx(1.0)
    assert metrics.spearman(np.array([1.0, 1, 1]), np.array([1.0, 2, 3])) is None
    assert metrics.spearman(np.array([1.0, 2]), np.array([1.0, 2])) is None
