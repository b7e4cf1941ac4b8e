"""Fitting and applying on real MRML, without a window."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import scene as build
import slicer
from learned import case, fit_quickly

from MedPerSAMLib.core.learn.apply import SlicePoints
from MedPerSAMLib.core.progress import CallbackProgress
from MedPerSAMLib.errors import Cancelled, InputError
from MedPerSAMLib.mrml.medpersam_logic import MedPerSAMLogic
from MedPerSAMLib.mrml.segment_reader import read_mask
from MedPerSAMLib.mrml.segment_writer import write_slice
from MedPerSAMLib.mrml.slice_record import Record
from MedPerSAMLib.mrml.training_list import TrainingList
from MedPerSAMLib.services.learning.profile import Profile

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def profile():
    """Fitted on one case, in seconds."""
    build.clear()
    with pytest.MonkeyPatch.context() as patch:
        fit_quickly(patch, examples=48, steps=60)
        volume, segmentation, _ = case("first")
        return MedPerSAMLogic().fit([(volume, segmentation)], device="cpu")


def test_fit_keeps_names_colours_axis_and_cases(profile, tmp_path):
    assert [label.name for label in profile.labels] == ["Liver", "Spleen"]
    assert (profile.fitted.method, profile.axis, profile.directions) == ("autosam-cnn", 0, "AR")
    assert profile.trained_on == ("first",) and profile.model == "tiny" and profile.fitted.finished
    profile.save(tmp_path / "organs.safetensors")
    assert Profile.load(tmp_path / "organs.safetensors").directions == "AR"


def test_apply_without_a_segmentation_makes_one(profile, scene):
    volume, _, labels = case("next", 2)
    done = MedPerSAMLogic().apply(profile, volume, device="cpu")
    content = done.segmentation.GetSegmentation()
    assert [content.GetNthSegment(i).GetName() for i in range(2)] == ["Liver", "Spleen"]
    assert np.allclose(content.GetNthSegment(1).GetColor(), profile.labels[1].colour)
    for number, name in enumerate(("Liver", "Spleen"), start=1):
        mask = read_mask(done.segmentation, done.segment_ids[name], volume)
        assert np.array_equal(mask, done.results[name].mask)
        dice = 2 * (mask & (labels == number)).sum() / (mask.sum() + (labels == number).sum())
        assert dice > 0.7, name
    table = slicer.util.getNode("Liver confidence")
    assert table.GetNumberOfRows() == 12


def test_apply_into_segments_of_the_same_name_spares_what_is_drawn(profile, scene):
    volume, segmentation, labels = case("next", 2, ("Spleen", "Liver"), outlined=False)
    drawn = np.roll(labels[5] == 1, 3, 1)
    write_slice(segmentation, "Liver", volume, 0, 5, drawn)
    logic = MedPerSAMLogic()
    done = logic.apply(profile, volume, segmentation, device="cpu")
    assert done.segmentation is segmentation and done.segment_ids == {"Liver": "Liver", "Spleen": "Spleen"}
    assert np.array_equal(read_mask(segmentation, "Liver", volume)[5], drawn)
    assert done.results["Liver"].confidence[5] == 1
    assert Record.of(segmentation.GetSegmentation().GetSegment("Liver")).axis == 0
    assert logic.pending and logic.discard() == 0
    left = read_mask(segmentation, "Liver", volume)
    assert list(np.flatnonzero(left.any(axis=(1, 2)))) == [5]


def test_undo_is_one_step_and_takes_new_segments_along(profile, scene):
    volume, segmentation, _ = case("next", 2, ("Tumour",), outlined=False)
    logic = MedPerSAMLogic()
    logic.apply(profile, volume, segmentation, device="cpu")
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 3
    assert logic.undo.undo(segmentation)
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 1


def test_corrected_slice_is_a_reference_for_propagation(profile, scene):
    volume, segmentation, labels = case("next", 2, outlined=False)
    logic = MedPerSAMLogic()
    logic.apply(profile, volume, segmentation, device="cpu")
    corrected = labels[6] == 1
    corrected[np.flatnonzero(corrected.any(axis=1))[0]] = False  # a good head may have found the very truth
    write_slice(segmentation, "Liver", volume, 0, 6, corrected)
    result = logic.process(volume, segmentation, ["Liver"], method="copy", device="cpu")["Liver"]
    assert np.array_equal(result.mask[7], corrected)
    assert np.array_equal(read_mask(segmentation, "Liver", volume), result.mask)


def test_transforms_and_oblique_grids_are_exact(profile, scene):
    volume, segmentation, _ = case("next", 2, outlined=False, rotation=(5, 8, 10))
    volume.SetAndObserveTransformNodeID(build.linear_transform((8, -3, 5), 12).GetID())
    segmentation.SetAndObserveTransformNodeID(build.linear_transform((1, 2, 3)).GetID())
    done = MedPerSAMLogic().apply(profile, volume, segmentation, device="cpu")
    assert done.results["Liver"].mask.any()
    assert np.array_equal(read_mask(segmentation, "Liver", volume), done.results["Liver"].mask)


def test_a_volume_stored_in_another_order_is_segmented_in_the_same_plane(profile, scene):
    """Sagittal slices first in memory: the profile still looks at axial ones, and the result lies where it belongs."""
    import vtk

    upright, _, _ = case("upright", 2)
    array = slicer.util.arrayFromVolume(upright)
    turned = build.volume_node(np.ascontiguousarray(np.moveaxis(array, 2, 0)), name="turned")
    matrix = vtk.vtkMatrix4x4()
    for row, column, step in ((0, 2, 1.5), (1, 0, 1.5), (2, 1, 4.0)):
        matrix.SetElement(row, row, 0)
        matrix.SetElement(row, column, step)
    turned.SetIJKToRASMatrix(matrix)
    logic = MedPerSAMLogic()
    with pytest.raises(InputError, match="Rows and columns of turned run towards RA"):
        logic.apply(profile, turned, device="cpu")
    swapped = build.volume_node(np.ascontiguousarray(np.moveaxis(array, 0, 1)), name="swapped")
    matrix.Zero()
    for row, column, step in ((0, 0, 1.5), (1, 2, 1.5), (2, 1, 4.0), (3, 3, 1.0)):
        matrix.SetElement(row, column, step)
    swapped.SetIJKToRASMatrix(matrix)
    expected = logic.apply(profile, upright, device="cpu").results["Liver"].mask
    done = logic.apply(profile, swapped, device="cpu")
    assert expected.any() and np.array_equal(done.results["Liver"].mask, expected)
    assert np.array_equal(np.moveaxis(read_mask(done.segmentation, done.segment_ids["Liver"], swapped), 1, 0), expected)


def test_cancelled_apply_changes_nothing(profile, scene):
    volume, segmentation, _ = case("next", 2, ("Liver",), outlined=False)
    seen = []
    progress = CallbackProgress(on_slice=lambda *_: seen.append(1), is_cancelled=lambda: len(seen) > 3)
    with pytest.raises(Cancelled):
        MedPerSAMLogic().apply(profile, volume, segmentation, progress, device="cpu")
    assert seen and segmentation.GetSegmentation().GetNumberOfSegments() == 1
    assert not read_mask(segmentation, "Liver", volume).any()


def test_a_damaged_or_other_model_changes_nothing(profile, scene):
    from dataclasses import replace

    from MedPerSAMLib.errors import ModelError

    volume, _, _ = case("next", 2)
    nodes = scene.GetNumberOfNodes()
    with pytest.raises(ModelError, match="fitted on the model 'tiny'"):
        MedPerSAMLogic().apply(replace(profile, model_checksum="0" * 64), volume, device="cpu")
    assert scene.GetNumberOfNodes() == nodes


def test_cancelled_fit_returns_the_best_so_far(scene, monkeypatch):
    fit_quickly(monkeypatch)
    volume, segmentation, _ = case("first")
    kept = []
    progress = CallbackProgress(is_cancelled=lambda: bool(kept))
    profile = MedPerSAMLogic().fit([(volume, segmentation)], progress, kept.append, device="cpu")
    assert not profile.fitted.finished and len(profile.fitted.curve) == 1


def test_points_of_promise_are_moved(scene, monkeypatch):
    fit_quickly(monkeypatch, steps=4, checks=2)
    volume, segmentation, _ = case("first")
    logic = MedPerSAMLogic()
    profile = logic.fit([(volume, segmentation)], method="promise-apm", device="cpu")
    weights = {**profile.fitted.weights, "presence.bias": profile.fitted.weights["presence.bias"] + 50}
    settings = {**profile.fitted.settings, "one_piece": [False, False]}
    profile = profile.with_fitted(dataclasses.replace(profile.fitted, weights=weights, settings=settings))
    done = logic.apply(profile, volume, device="cpu")
    key = next(iter(done.points))
    moved = SlicePoints(done.points[key].places + 3.0, done.points[key].labels)
    monkeypatch.setattr("MedPerSAMLib.core.learn.apply.at_several_sizes", None)  # the other slices are known
    again = logic.apply(profile, volume, device="cpu", moved={key: moved})
    assert np.allclose(again.points[key].places, moved.places)
    logic.forget()
    with pytest.raises(TypeError):
        logic.apply(profile, volume, device="cpu", moved={key: moved})


def test_list_is_kept_in_the_scene(scene):
    cases, trained = [case("first"), case("second", 1)], TrainingList(scene)
    for volume, segmentation, _ in cases:
        trained.add(volume, segmentation)
    assert [pair.volume.GetName() for pair in TrainingList(scene).pairs()] == ["first", "second"]
    with pytest.raises(InputError, match="in the list already"):
        trained.add(*cases[0][:2])
    scene.RemoveNode(cases[1][0])
    assert [pair.volume.GetName() for pair in trained.pairs()] == ["first"]
    trained.remove(cases[0][1])
    assert not trained.pairs() and cases[0][1].GetScene() is scene


def _other_names(scene):
    return case("second", 1, ("Liver", "Kidney"))[:2]


def _empty(scene):
    return case("second", 1, outlined=False)[:2]


def _one_slice(scene):
    volume, segmentation, labels = case("second", 1, outlined=False)
    write_slice(segmentation, "Liver", volume, 0, 5, labels[5] == 1)
    return volume, segmentation


def _no_segments(scene):
    return case("second", 1, ())[:2]


def _twice(scene):
    volume, segmentation, _ = case("second", 1)
    segmentation.GetSegmentation().GetSegment("Spleen").SetName("Liver")
    return volume, segmentation


def _turned(scene):
    return case("second", 1, rotation=(90, 0, 0))[:2]


def _bent(scene):
    volume, segmentation, _ = case("second", 1)
    node = scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "warp")
    slicer.util.getNode("warp")
    volume.SetAndObserveTransformNodeID(node.GetID())
    return volume, segmentation


@pytest.mark.parametrize(
    "second, words",
    [
        (_other_names, "give all cases the same names"),
        (_empty, "is empty there"),
        (_one_slice, "on one slice only"),
        (_no_segments, "has no segment"),
        (_twice, "two segments called 'Liver'"),
        (_turned, "Orient Scalar Volume"),
        (_bent, "not linear"),
    ],
)
def test_bad_cases_give_one_sentence(scene, second, words):
    first = case("first")[:2]
    with pytest.raises(InputError, match=words) as error:
        MedPerSAMLogic().plan_fit([first, second(scene)])
    assert str(error.value).count("\n") == 0


def test_a_segment_that_is_empty_everywhere_or_is_everything(scene):
    volume, segmentation, _ = case("first")
    segmentation.GetSegmentation().AddEmptySegment("Tumour", "Tumour")
    with pytest.raises(InputError, match="Tumour is outlined in none of the cases; outline it, or remove its segment"):
        MedPerSAMLogic().plan_fit([(volume, segmentation)])
    volume, segmentation, labels = case("second", 1, ("Liver",), outlined=False)
    for index in range(len(labels)):
        write_slice(segmentation, "Liver", volume, 0, index, np.ones(labels[index].shape, bool))
    with pytest.raises(InputError, match="covers every voxel; outline the structure alone"):
        MedPerSAMLogic().plan_fit([(volume, segmentation)])


def test_bad_calls_give_one_sentence(profile, scene):
    volume, segmentation, _ = case("first")
    logic = MedPerSAMLogic()
    with pytest.raises(InputError, match="no finished case"):
        logic.fit([])
    with pytest.raises(InputError, match="did you mean"):
        logic.fit([(volume, segmentation)], method="autosam-cmm")
    with pytest.raises(InputError, match="no profile"):
        logic.apply(None, volume)
    with pytest.raises(InputError, match="No volume"):
        logic.apply(profile, None)
    TrainingList(scene).add(volume, segmentation)
    other = case("next", 1)[0]
    with pytest.raises(InputError, match="finished segmentation of first"):
        logic.apply(profile, other, segmentation)
    with pytest.raises(InputError, match="Orient Scalar Volume"):
        logic.apply(profile, case("turned", rotation=(0, 90, 0))[0])
