"""The whole method on the embedded sample: it beats copying, stops, keeps annotations, can be cancelled and corrected."""

import dataclasses

import numpy as np
import pytest

from MedPerSAMLib.core.methods.copy_reference import CopyReference
from MedPerSAMLib.core.methods.med_persam import MedPerSAM, Settings
from MedPerSAMLib.core.methods.warp import WarpOnly
from MedPerSAMLib.core.overlap import dice
from MedPerSAMLib.core.progress import CallbackProgress, Progress
from MedPerSAMLib.core.session import ImageSession, VolumeSession
from MedPerSAMLib.core.task import Reference, Volume
from MedPerSAMLib.core.warp.network import load_warp
from MedPerSAMLib.errors import Cancelled, InputError, ModelError
from MedPerSAMLib.sample import REFERENCE_SLICE
from MedPerSAMLib.services.models.load import load_predictor
from MedPerSAMLib.weights import weights_path

WITHOUT_SAM = MedPerSAM(Settings(sam=False))


@pytest.fixture(scope="module")
def session(sample_volume):
    predictor = load_predictor("tiny", "cpu").predictor
    return VolumeSession(sample_volume, predictor, load_warp(weights_path("warp")))


@pytest.fixture(scope="module")
def kidney(sample_references):
    return sample_references["right kidney"]


@pytest.fixture(scope="module")
def truth(sample_labels):
    from MedPerSAMLib.sample.phantom import LABELS

    return {name: sample_labels == value for value, name in LABELS.items()}


@pytest.fixture(scope="module")
def followed(session, kidney):
    return WITHOUT_SAM.propagate(session, kidney, Progress())


def _others(mask):
    return np.delete(mask, REFERENCE_SLICE, axis=0)


def test_the_structure_is_found_far_better_than_by_copying(session, kidney, truth, followed):
    copied = CopyReference().propagate(session, kidney, Progress())
    score = dice(_others(followed.mask), _others(truth["right kidney"]))
    assert score > 0.75 and score > dice(_others(copied.mask), _others(truth["right kidney"])) + 0.1


def test_it_stops_where_the_structure_ends(session, sample_references, truth):
    absent = ~truth["liver"].any((1, 2))
    endless = dataclasses.replace(WITHOUT_SAM.settings, presence=False)
    found, beyond = (
        method.propagate(session, sample_references["liver"], Progress()).mask for method in (WITHOUT_SAM, MedPerSAM(endless))
    )
    assert found[absent].sum() < 0.03 * found.sum()
    assert found[absent].sum() < 0.5 * beyond[absent].sum()


def test_slices_far_beyond_the_end_are_never_matched(sample_volume, kidney, truth):
    session = VolumeSession(sample_volume, None, load_warp(weights_path("warp")))
    end = int(np.flatnonzero(truth["right kidney"].any((1, 2))).max())
    WITHOUT_SAM.propagate(session, kidney, Progress())
    assert session.fields.has([(REFERENCE_SLICE, REFERENCE_SLICE + 1)])
    last = len(sample_volume.array) - 1
    assert last > end + 8 and not session.fields.has([(last - 1, last)])


def test_the_annotated_slice_stays_as_it_was_annotated(kidney, followed):
    assert (followed.mask[REFERENCE_SLICE] == kidney.masks[REFERENCE_SLICE]).all()
    assert followed.confidence[REFERENCE_SLICE] == 1 and followed.finished.all()


def test_confidence_knows_the_better_slices(truth, followed):
    from scipy.stats import spearmanr

    found = followed.mask.any((1, 2)) | truth["right kidney"].any((1, 2))
    found[REFERENCE_SLICE] = False
    dices = [dice(followed.mask[i], truth["right kidney"][i]) for i in np.flatnonzero(found)]
    assert spearmanr(dices, followed.confidence[found]).statistic > 0.5


def test_with_sam_the_same_seed_gives_the_same_mask(session, kidney):
    few = range(REFERENCE_SLICE - 4, REFERENCE_SLICE + 5)
    first, kept = (MedPerSAM().propagate(session, kidney, Progress(), few) for _ in range(2))
    session.sides.clear()
    second = MedPerSAM().propagate(session, kidney, Progress(), few)
    for again in (kept, second):
        assert (first.mask == again.mask).all() and (first.confidence == again.confidence).all()
    assert first.finished.sum() == 9 and not first.mask[: REFERENCE_SLICE - 4].any()
    assert "predicted_iou" in first.details


def test_slices_are_handed_over_as_they_come_and_a_cancel_is_heard_at_once(session, kidney):
    session.sides.clear()
    seen = []
    progress = CallbackProgress(
        on_slice=lambda index, mask, confidence: seen.append(index), is_cancelled=lambda: len(seen) >= 3
    )
    with pytest.raises(Cancelled):
        WITHOUT_SAM.propagate(session, kidney, progress)
    assert len(seen) == 3 and all(abs(index - REFERENCE_SLICE) <= 2 for index in seen)


def test_a_second_annotated_slice_helps_and_is_kept(session, kidney, truth, followed):
    there = np.flatnonzero(truth["right kidney"].any((1, 2)))
    worst = min(
        (i for i in there if i != REFERENCE_SLICE), key=lambda i: dice(followed.mask[i], truth["right kidney"][i])
    )
    corrected = Reference({**kidney.masks, int(worst): truth["right kidney"][worst]}, "right kidney")
    again = WITHOUT_SAM.propagate(session, corrected, Progress())
    assert (again.mask[worst] == truth["right kidney"][worst]).all()
    assert dice(again.mask, truth["right kidney"]) > dice(followed.mask, truth["right kidney"])
    far = range(REFERENCE_SLICE) if worst > REFERENCE_SLICE else range(REFERENCE_SLICE + 1, len(again.mask))
    assert (again.mask[far] == followed.mask[far]).all(), "a correction changes nothing beyond the first annotation"


def test_every_step_can_be_switched_off(session, kidney, truth):
    near = range(REFERENCE_SLICE - 6, REFERENCE_SLICE + 7)
    variants = {
        "warp": WarpOnly(),
        "no appearance": MedPerSAM(Settings(appearance=False)),
        "no presence": MedPerSAM(Settings(sam=False, presence=False)),
        "anchor": MedPerSAM(Settings(sam=False, anchor=0.5)),
        "box only": MedPerSAM(
            Settings(refine=dataclasses.replace(Settings().refine, mask=False, points=False, rounds=0))
        ),
    }
    masks = {name: method.propagate(session, kidney, Progress(), near).mask for name, method in variants.items()}
    assert all(dice(mask[near], truth["right kidney"][near]) > 0.4 for mask in masks.values())
    assert not (masks["warp"] == masks["no presence"]).all()
    assert not (masks["anchor"] == WITHOUT_SAM.propagate(session, kidney, Progress(), near).mask).all()


def test_a_sagittal_like_grid_of_unequal_pixels_works(session, sample_labels):
    turned = Volume(
        np.ascontiguousarray(session.volume.array.transpose(2, 0, 1)),
        tuple(session.volume.spacing[axis] for axis in (2, 0, 1)),
    )
    liver = (sample_labels == 1).transpose(2, 0, 1)
    middle = int(liver.sum((1, 2)).argmax())
    near = range(middle - 5, middle + 6)
    other = VolumeSession(turned, None, session.warp_network)
    found = WITHOUT_SAM.propagate(other, Reference({middle: liver[middle]}), Progress(), near).mask
    assert dice(found[near], liver[near]) > 0.85


def test_the_mask_of_an_image_is_carried_to_a_moved_copy_of_it(session, sample_volume, truth):
    image, mask = sample_volume.array[REFERENCE_SLICE], truth["liver"][REFERENCE_SLICE]
    target = np.roll(image, (4, 6), (0, 1))
    pair = ImageSession(image, mask, [target, target[:-10]], None, session.warp_network)
    first, second = WITHOUT_SAM.transfer(pair, Progress())
    assert dice(first.mask, np.roll(mask, (4, 6), (0, 1))) > 0.85
    assert second.mask.shape == target[:-10].shape and 0 <= second.confidence <= 1


def test_what_is_missing_is_said_before_anything_is_computed(sample_volume, kidney, session):
    with pytest.raises(ModelError, match="warp"):
        MedPerSAM().propagate(VolumeSession(sample_volume), kidney, Progress())
    with pytest.raises(ModelError, match="needs a SAM"):
        MedPerSAM().propagate(VolumeSession(sample_volume, None, session.warp_network), kidney, Progress())
    with pytest.raises(InputError, match="range"):
        WITHOUT_SAM.propagate(session, kidney, Progress(), range(30, 99))


@pytest.mark.parametrize("pixels", [4, 9])
def test_a_structure_of_a_few_pixels_is_followed_without_an_error(session, pixels):
    mask = np.zeros(session.volume.slice_shape, bool)
    side = int(pixels**0.5)
    mask[80 : 80 + side, 90 : 90 + side] = True
    near = range(REFERENCE_SLICE - 2, REFERENCE_SLICE + 3)
    found = MedPerSAM().propagate(session, Reference({REFERENCE_SLICE: mask}), Progress(), near)
    assert (found.mask[REFERENCE_SLICE] == mask).all()


def test_constant_slices_end_a_structure_without_an_error(sample_volume, kidney, session):
    array = sample_volume.array.copy()
    array[: REFERENCE_SLICE - 2] = array.min()
    blank = VolumeSession(Volume(array, sample_volume.spacing), None, session.warp_network)
    found = WITHOUT_SAM.propagate(blank, kidney, Progress(), range(REFERENCE_SLICE - 6, REFERENCE_SLICE + 3))
    assert found.mask[REFERENCE_SLICE - 1].any() and not found.mask[REFERENCE_SLICE - 6].any()
