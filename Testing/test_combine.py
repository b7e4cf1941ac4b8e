"""Which of several structures a voxel belongs to, and their label maps."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from MedPerSAMLib.core.progress import CallbackProgress
from MedPerSAMLib.core.task import Propagation, Reference
from MedPerSAMLib.errors import Cancelled
from MedPerSAMLib.services.combine import exclusive, label_maps, layers_of

SMALL, LARGE = np.zeros((12, 12), bool), np.zeros((12, 12), bool)
SMALL[4:8, 4:8] = LARGE[2:10, 2:7] = True


def both(small_at: tuple[int, ...], large_at: tuple[int, ...], slices: int = 9):
    """Both structures on all slices, annotated on some."""
    masks = {"small": SMALL, "large": LARGE}
    found = {key: np.repeat(mask[None], slices, axis=0) for key, mask in masks.items()}
    references = {
        key: Reference({k: masks[key] for k in at}, key) for key, at in {"small": small_at, "large": large_at}.items()
    }
    for key, reference in references.items():  # what is annotated together was drawn beside each other
        for k in reference.masks:
            for other, mask in found.items():
                if other != key:
                    mask[k] &= ~masks[key]
    every = np.ones(slices, bool)
    return {k: Propagation(m, every.astype(np.float32), every, every) for k, m in found.items()}, references


def owner(results, k: int) -> str:
    """Which structure has the voxel on slice ``k`` that both claim; each voxel of either belongs to one."""
    small, large = (results[key].mask[k] for key in ("small", "large"))
    assert not (small & large).any() and np.array_equal(small | large, SMALL | LARGE)
    return "small" if small[5, 5] else "large"


def test_the_structure_whose_annotation_is_nearer_wins():
    propagations, references = both((0,), (8,))
    found = exclusive(propagations, references)
    assert [owner(found, k) for k in (1, 2, 6, 7)] == ["small", "small", "large", "large"]
    assert propagations["small"].mask[7, 5, 5], "what came in is left as it was"


def test_at_equal_distance_the_smaller_one_wins_wherever_it_comes():
    propagations, references = both((0,), (8,))
    assert owner(exclusive(propagations, references), 4) == "small"
    turned = {key: propagations[key] for key in ("large", "small")}
    assert owner(exclusive(turned, references), 4) == "small"


def test_a_small_structure_inside_a_large_one_is_kept_whole():
    propagations, references = both((0,), (8,))
    inside = np.zeros((12, 12), bool)
    inside[4:7, 3:6] = True
    small = Propagation(np.repeat(inside[None], 9, axis=0), *dataclasses.astuple(propagations["small"])[1:4])
    small.mask[8] = False
    found = exclusive({"large": propagations["large"], "small": small}, {**references, "small": Reference({0: inside})})
    assert all(np.array_equal(found["small"].mask[k], inside) for k in range(6))
    assert np.array_equal(found["large"].mask[3], LARGE & ~inside)


def test_an_annotated_slice_stays_and_a_nearer_second_annotation_counts():
    propagations, references = both((0, 7), (8,))
    found = exclusive(propagations, references)
    assert np.array_equal(found["small"].mask[7], SMALL) and owner(found, 6) == "small"
    assert np.array_equal(found["large"].mask[8], LARGE)


def test_a_structure_that_loses_a_slice_is_not_present_there():
    propagations, references = both((0,), (8,))
    propagations["small"].mask[6] &= LARGE
    found = exclusive(propagations, references)
    assert not found["small"].present[6] and found["small"].confidence[6] == 0


def test_a_slice_that_has_lost_something_is_less_certain():
    propagations, references = both((0,), (8,))
    confidence = exclusive(propagations, references)["small"].confidence
    assert confidence[0] == confidence[8] == 1, "annotated, or nothing lost there"
    assert 1 == confidence[1] > confidence[6] == confidence[7] > 0


def test_structures_that_were_drawn_over_each_other_may_overlap():
    propagations, _ = both((0,), (8,))
    references = {"small": Reference({3: SMALL}), "large": Reference({3: LARGE})}
    found = exclusive(propagations, references)
    assert all(np.array_equal(found[key].mask, propagations[key].mask) for key in found)
    assert layers_of(references) == {"small": 0, "large": 1}


def test_a_cancel_is_heard():
    propagations, references = both((0,), (8,))
    with pytest.raises(Cancelled):
        exclusive(propagations, references, CallbackProgress(is_cancelled=lambda: True))


def test_label_maps_hold_values_and_layers():
    propagations, references = both((0,), (8,))
    values = {"small": 3, "large": 300}
    found = {values[key]: one for key, one in exclusive(propagations, references).items()}
    (only,) = label_maps(found, {values[key]: one for key, one in references.items()})
    assert (
        only.dtype == np.uint16
        and np.array_equal(only == 3, found[3].mask)
        and np.array_equal(only == 300, found[300].mask)
    )
    layered = {3: Reference({3: SMALL}), 300: Reference({3: LARGE})}
    raw = {values[key]: one for key, one in propagations.items()}
    first, second = label_maps(raw, layered)
    assert np.array_equal(first == 3, raw[3].mask) and np.array_equal(second == 300, raw[300].mask)
