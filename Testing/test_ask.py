"""Asking SAM about several masks at once gives what asking one by one gives."""

import numpy as np
import pytest
from scipy import ndimage

from MedPerSAMLib.core.overlap import dice
from MedPerSAMLib.core.propagate.ask import Questioner, RefinerSettings
from MedPerSAMLib.core.propagate.refiner import UNFUSED_WEIGHT, Calibration, SamRefiner, calibrate
from MedPerSAMLib.core.session import VolumeSession
from MedPerSAMLib.sample import REFERENCE_SLICE
from MedPerSAMLib.services.models.load import load_predictor


@pytest.fixture(scope="module")
def asked(sample_volume, sample_references):
    """A questioner, and (index, mask, sharpness) of masks that need frames of different sizes."""
    session = VolumeSession(sample_volume, load_predictor("tiny", "cpu").predictor, None)
    masks = [session.grid.mask_from_native(r.masks[REFERENCE_SLICE]) for r in sample_references.values()]
    questions = [(REFERENCE_SLICE, mask, 6.0) for mask in masks]
    questions += [(REFERENCE_SLICE + 1, ndimage.binary_dilation(mask, iterations=2), 10.0) for mask in masks]

    def questioner(**changes):
        settings = RefinerSettings(**changes)
        return Questioner(session.predictor, session.embedder, session.grid, session.in_plane_spacing, settings, 0)

    return questioner, questions


def test_together_is_one_by_one(asked):
    questioner = asked[0]()
    questioner.prototypes = [questioner.prototype(*asked[1][0][:2])]  # so that there are different numbers of points
    together = questioner.ask_all(asked[1])
    assert len(together) == len(asked[1]) > questioner._predictor.batch  # more than one batch
    for answer, question in zip(together, asked[1]):
        alone = questioner.ask_all([question])[0]
        np.testing.assert_allclose(answer.log_odds, alone.log_odds, atol=0.05)
        assert answer.predicted_iou == pytest.approx(alone.predicted_iou, abs=0.01)


def test_the_answer_follows_the_mask_that_is_asked(asked):
    questioner, (first, second, *_) = asked[0](), asked[1]
    answers = [answer.log_odds > 0 for answer in questioner.ask_all([first, second])]
    assert dice(answers[0], first[1]) > 0.6 > dice(answers[0], second[1])
    assert dice(answers[1], second[1]) > 0.6


def test_by_its_box_alone_sam_leaves_the_outline_of_a_rough_mask(asked):
    questioner, questions = asked[0](), asked[1]
    closer = []
    for index, mask, _ in questions[:5]:
        rows, columns = np.nonzero(mask)
        rough = np.zeros_like(mask)  # a diamond in the box of the structure
        centre, half = (rows.mean(), columns.mean()), (np.ptp(rows) / 2 + 1, np.ptp(columns) / 2 + 1)
        grid = np.mgrid[: mask.shape[0], : mask.shape[1]]
        rough[sum(np.abs(axis - c) / h for axis, c, h in zip(grid, centre, half)) <= 1] = True
        by_box = questioner.ask_by_box(index, rough)
        by_mask = questioner.ask_all([(index, rough, 10.0)])[0]
        assert by_box.log_odds.shape == mask.shape and 0 <= by_box.predicted_iou <= 1.2
        closer.append([dice(answer.log_odds > 0, mask) for answer in (by_box, by_mask)])
    by_box, by_mask = np.mean(closer, axis=0)
    assert by_box > by_mask


@pytest.mark.parametrize("alternatives", [False, True])
def test_sams_three_masks_are_asked_for_only_where_the_outline_is_rough(asked, alternatives, monkeypatch):
    questioner = asked[0](alternatives=alternatives, rounds=0)
    decode, several = questioner._predictor.decode, []

    def watched(embeddings, prompts, multimask=False):
        several.append(multimask)
        return decode(embeddings, prompts, multimask=multimask)

    monkeypatch.setattr(questioner._predictor, "decode", watched)
    index, mask, sharpness = asked[1][0]
    found = questioner.ask_all([(index, mask, sharpness)])[0]
    assert dice(found.log_odds > 0, mask) > 0.8
    questioner.ask_by_box(index, mask)
    assert several == [alternatives, True]


def test_sam_is_believed_as_far_as_it_repairs_or_by_half_without_fusion(asked):
    index, mask, _ = asked[1][0]
    fused, halved = (
        calibrate(asked[0](), index, mask, RefinerSettings(fusion=fusion), seed=0) for fusion in (True, False)
    )
    assert halved.weight == UNFUSED_WEIGHT and halved.sharpness == fused.sharpness
    nothing = calibrate(asked[0](), index, ~mask, RefinerSettings(), seed=0)
    assert fused.weight > nothing.weight, "the surroundings of an organ are no structure that SAM repairs"


def test_features_tell_the_annotated_structure_from_others_and_from_its_surroundings(asked):
    masks = [mask for index, mask, _ in asked[1] if index == REFERENCE_SLICE]
    wider = [mask for index, mask, _ in asked[1] if index != REFERENCE_SLICE]
    for number, mask in enumerate(masks):
        refiner = SamRefiner(asked[0](), {REFERENCE_SLICE: mask}, RefinerSettings(), Calibration(6.0, 1.0))
        own = refiner.contrast(REFERENCE_SLICE, mask, mask)
        assert own > 0.2
        assert refiner.contrast(REFERENCE_SLICE + 1, mask, wider[number]) > 0.7 * own
        others = [refiner.contrast(REFERENCE_SLICE, other, other) for other in masks if other is not mask]
        assert np.mean(others) < 0.8 * own  # two kidneys look alike
        ring = ndimage.binary_dilation(mask, iterations=6) & ~ndimage.binary_dilation(mask)
        assert refiner.contrast(REFERENCE_SLICE, ring, mask) < 0.2 * own


def test_features_are_compared_with_the_largest_annotation(asked):
    masks = sorted((mask for index, mask, _ in asked[1] if index == REFERENCE_SLICE), key=np.count_nonzero)
    references = {REFERENCE_SLICE: masks[-1], REFERENCE_SLICE + 1: masks[0]}
    both, largest = (
        SamRefiner(asked[0](), known, RefinerSettings(), Calibration(6.0, 1.0))
        for known in (references, {REFERENCE_SLICE: masks[-1]})
    )
    for mask in masks:
        assert both.contrast(REFERENCE_SLICE, mask, mask) == largest.contrast(REFERENCE_SLICE, mask, mask)
