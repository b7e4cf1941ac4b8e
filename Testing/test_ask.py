"""Asking SAM about several masks at once gives what asking one by one gives."""

import numpy as np
import pytest
from scipy import ndimage

from MedPerSAMLib.core.overlap import dice
from MedPerSAMLib.core.propagate.ask import Questioner, RefinerSettings
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
