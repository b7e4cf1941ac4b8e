"""Many slices at a time: the same as slice by slice, and heard of once."""

from __future__ import annotations

import numpy as np
import pytest
import scene as build
import slicer

from MedPerSAMLib.mrml.logic import PropagationLogic
from MedPerSAMLib.mrml.segment_reader import read_mask
from MedPerSAMLib.mrml.segment_slices import SegmentSlices
from MedPerSAMLib.mrml.segment_writer import write_slice

SHAPE = (9, 12, 15)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("grid", ["the volume's", "cropped", "finer", "empty"])
def test_the_same_as_slice_by_slice(scene, grid, axis):
    """In a layer that another segment shares, which must not lose a voxel."""
    random, volume = np.random.default_rng(axis), build.volume_node(np.zeros(SHAPE, np.int16), (1, 1, 2))
    place = {
        "the volume's": (SHAPE, (1, 1, 2), (0, 0, 0)),
        "cropped": ((4, 6, 7), (1, 1, 2), (3, 2, 6)),
        "finer": ((18, 24, 30), (0.5, 0.5, 1), (-0.25, -0.25, -0.5)),
        "empty": (SHAPE, (1, 1, 2), (0, 0, 0)),
    }[grid]
    own = build.volume_node(np.zeros(place[0], np.int16), place[1], (0, 0, 0), place[2], "grid")
    segmentation = build.segmentation_node(own, "first", "second")
    labels = random.integers(0, 3, place[0])
    for value, name in enumerate(("first", "second"), start=1):
        if grid != "empty" or name == "second":
            build.paint(segmentation, name, own, labels == value)
    others = read_mask(segmentation, "second", own)
    before = read_mask(segmentation, "first", volume)
    wanted = np.moveaxis(before.copy(), axis, 0)
    count = wanted.shape[0]
    masks = {0: np.zeros_like(wanted[0]), 3: random.random(wanted[3].shape) > 0.5, count - 1: ~wanted[-1]}
    for index, mask in masks.items():
        wanted[index] = mask
    slices = SegmentSlices(segmentation, "first", volume, axis)
    assert np.array_equal([slices.read(n) for n in range(count)], np.moveaxis(before, axis, 0))
    slices.write(masks)
    assert np.array_equal(np.moveaxis(read_mask(segmentation, "first", volume), axis, 0), wanted)
    assert np.array_equal(read_mask(segmentation, "second", own), others)


@pytest.mark.parametrize("end", ["cancel", "discard"])
def test_a_run_is_taken_back_at_once(scene, grey, ball, end):
    """Views hear of it as often as of a slice, however many slices there were."""
    volume = build.volume_node(grey, (0.8, 0.8, 2.5))
    segmentation, heard = build.segmentation_node(volume, "Liver"), []
    write_slice(segmentation, "Liver", volume, 0, 9, ball[9])
    before, logic = read_mask(segmentation, "Liver", volume), PropagationLogic()
    if end == "discard":
        logic.process(volume, segmentation, ["Liver"], method="copy", device="cpu")
        take_back = logic.discard
    else:
        run = logic.start(volume, segmentation, ["Liver"], method="copy", device="cpu")
        for index in range(len(ball)):
            run.write("Liver", index, ball[9])
        take_back = run.cancel
    event = slicer.vtkSegmentation.SourceRepresentationModified
    segmentation.GetSegmentation().AddObserver(event, lambda *_: heard.append(1))
    assert take_back() == 0 and np.array_equal(read_mask(segmentation, "Liver", volume), before)
    assert 0 < len(heard) < 10
