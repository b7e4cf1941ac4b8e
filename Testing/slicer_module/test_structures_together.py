"""Structures of one run claim the same voxels: each goes to one of them, in whatever order they come."""

from __future__ import annotations

import numpy as np
import pytest
import scene as build

from MedPerSAMLib.core.task import Propagation
from MedPerSAMLib.mrml.logic import PropagationLogic
from MedPerSAMLib.mrml.segment_reader import read_mask
from MedPerSAMLib.mrml.segment_writer import write_slice

COPY = {"method": "copy", "device": "cpu"}


@pytest.fixture
def organs(scene, grey, ball):
    """Volume, segmentation with Liver annotated on axial slice 9 and Kidney, beside it, on 14; the ball and Kidney's outline."""
    volume = build.volume_node(grey, (0.8, 0.8, 2.5), (5, 10, 15))
    segmentation = build.segmentation_node(volume, "Liver", "Kidney")
    beside = np.roll(ball[9], 4, axis=1)
    write_slice(segmentation, "Liver", volume, 0, 9, ball[9])
    write_slice(segmentation, "Kidney", volume, 0, 14, beside)
    return volume, segmentation, ball, beside


def _masks(volume, segmentation) -> np.ndarray:
    return np.stack([read_mask(segmentation, i, volume) for i in ("Liver", "Kidney")])


def test_structures_of_one_run_share_voxels_by_their_claims_not_by_their_order(organs):
    volume, segmentation, ball, beside = organs
    logic = PropagationLogic()
    results = logic.process(volume, segmentation, ["Liver", "Kidney"], **COPY)
    liver, kidney = found = _masks(volume, segmentation)
    assert np.array_equal(liver, results["Liver"].mask) and np.array_equal(kidney, results["Kidney"].mask)
    both = ball[9] & beside
    assert both.any() and not (liver & kidney).any()
    assert (liver | kidney)[1:-1].all(axis=0)[ball[9] | beside].all(), "no hole is left between them"
    assert liver[:12, both].all() and kidney[12:, both].all(), "the nearer annotation counts"
    assert np.array_equal(liver[9], ball[9]) and np.array_equal(kidney[14], beside)
    logic.discard()
    logic.process(volume, segmentation, ["Kidney", "Liver"], **COPY)
    assert np.array_equal(_masks(volume, segmentation), found)


def test_what_a_later_structure_gives_up_goes_to_the_earlier_one(organs):
    volume, segmentation, ball, beside = organs
    run = PropagationLogic().start(volume, segmentation, ["Liver", "Kidney"], **COPY)
    run.write("Kidney", 12, beside)
    results = {}
    for key, mask, index in (("Liver", ball[9], 9), ("Kidney", beside & ~ball[9], 14)):
        masks = np.zeros(ball.shape, bool)
        masks[12], masks[index] = mask, {"Liver": ball[9], "Kidney": beside}[key]
        results[key] = Propagation(masks, masks.any((1, 2)).astype(np.float32), masks.any((1, 2)), masks.any((1, 2)))
    list(run.finish(results))
    liver, kidney = _masks(volume, segmentation)
    assert np.array_equal(liver[12], ball[9]) and np.array_equal(kidney[12], beside & ~ball[9])
