"""Matched features as a source of proposals for other images: tried on changed copies, used only where they promise more."""

import dataclasses

import numpy as np
import pytest

from MedPerSAMLib.core.changed_copy import ChangeSettings, changed_copy
from MedPerSAMLib.core.methods import med_persam
from MedPerSAMLib.core.methods.matched_proposals import MatchedProposals, MatchedSettings
from MedPerSAMLib.core.methods.matcher import Matcher
from MedPerSAMLib.core.methods.med_persam import MedPerSAM, Settings
from MedPerSAMLib.core.overlap import dice
from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.core.propagate.step import StepSettings
from MedPerSAMLib.core.propagate.transfer import ImagePair, TransferSettings, expected_dice
from MedPerSAMLib.core.session import ImageSession
from MedPerSAMLib.core.task import Transfer
from MedPerSAMLib.core.warp.network import load_warp
from MedPerSAMLib.services.models.load import load_predictor
from MedPerSAMLib.weights import weights_path

ROWS, COLUMNS = np.mgrid[:64, :80]


def _disc(row, column, size):
    return (ROWS - row) ** 2 + (COLUMNS - column) ** 2 < size**2


IMAGE = np.where(_disc(32, 40, 12), 0.8, 0.2).astype(np.float32)


@pytest.mark.parametrize("image", [IMAGE, np.stack([IMAGE] * 3, axis=-1)])
def test_a_changed_copy_carries_its_mask_along(image):
    for seed in range(4):
        copy, mask = changed_copy(image, _disc(32, 40, 12), ChangeSettings(), np.random.default_rng(seed))
        grey = copy if copy.ndim == 2 else copy[..., 0]
        assert copy.shape == image.shape and copy.dtype == np.float32
        assert dice(grey > (grey.min() + grey.max()) / 2, mask) > 0.95
        assert not (mask == _disc(32, 40, 12)).all()


def test_a_copy_without_change_is_the_image():
    copy, mask = changed_copy(IMAGE, _disc(32, 40, 12), ChangeSettings(0, 0, 0, 0, 0), np.random.default_rng(0))
    assert np.allclose(copy, IMAGE) and (mask == _disc(32, 40, 12)).all()


def test_expected_dice_wants_all_of_what_looks_right_and_nothing_else():
    probability = np.where(_disc(32, 40, 12), 0.9, 0.05)
    whole = expected_dice(_disc(32, 40, 12), probability)
    assert whole > max(expected_dice(_disc(32, 40, 6), probability), expected_dice(_disc(32, 40, 24), probability))
    assert expected_dice(np.zeros(IMAGE.shape, bool), probability) == 0


class _Looks:
    """An appearance that knows the target's structure."""

    def __init__(self, truth):
        self._log_odds = np.where(truth, 3.0, -3.0).astype(np.float32)

    def log_odds(self, index, window):
        return self._log_odds

    def contrast(self, index, mask):
        return 0.5


def test_a_found_mask_wins_where_the_target_looks_like_the_structure_there_and_only_there():
    truth = _disc(20, 60, 12)
    settings = TransferSettings(least_score=1e9)
    pair = ImagePair(IMAGE, _disc(32, 40, 12), IMAGE, None, _Looks(truth), 0.5, None, settings, StepSettings())
    own, found, other = pair.best(), pair.judged(truth, 0.64), pair.judged(_disc(50, 10, 8), 0.64)
    assert (found.mask == truth).all() and found.signs["trust"] == pytest.approx(0.8)
    assert 0.8 >= found.score > own.score > other.score
    assert found.score > pair.judged(truth, 0.2).score


def _matching(monkeypatch, answer, **changes):
    asked = []

    def find_in(self, session, learned, number):
        asked.append(session.targets[number])
        return Transfer(answer(session.targets[number]), 0.5)

    monkeypatch.setattr(Matcher, "learn_from", lambda self, session, progress: None)
    monkeypatch.setattr(Matcher, "find_in", find_in)
    session = ImageSession(IMAGE, _disc(32, 40, 12), [IMAGE], seed=3)
    return MatchedProposals(session, MatchedSettings(**changes), Progress()), asked


def test_matching_that_finds_the_structure_in_copies_is_trusted(monkeypatch):
    matching, asked = _matching(monkeypatch, lambda image: image > 0.5)
    assert matching.trust > 0.95 and len(asked) == MatchedSettings().copies
    assert dice(matching.find(0), _disc(32, 40, 12)) > 0.99


def test_matching_that_finds_too_much_is_not_trusted_and_not_asked_again(monkeypatch):
    matching, asked = _matching(monkeypatch, lambda image: image < 0.5)
    assert matching.trust < 0.2
    before = len(asked)
    assert matching.find(0) is None and len(asked) == before


def test_an_empty_match_is_no_proposal(monkeypatch):
    matching, _ = _matching(monkeypatch, lambda image: np.zeros(image.shape, bool), copies=2, least_trust=0.0)
    assert matching.trust == 0 and matching.find(0) is None


@pytest.mark.parametrize("trust", [1.0, 0.01])
def test_transfer_weighs_what_matching_finds_by_its_trust(monkeypatch, trust):
    elsewhere = _disc(14, 14, 12)

    class Stand:
        def __init__(self, session, settings, progress):
            self.trust = trust

        def find(self, number):
            return elsewhere

    monkeypatch.setattr(med_persam, "MatchedProposals", Stand)
    settings = Settings()
    quick = dataclasses.replace(settings.carry, look=dataclasses.replace(settings.carry.look, steps=20))
    target = np.where(elsewhere, IMAGE.max(), IMAGE.min()).astype(np.float32)
    session = ImageSession(
        IMAGE, _disc(32, 40, 12), [target], load_predictor("tiny", "cpu").predictor, load_warp(weights_path("warp"))
    )
    alone = MedPerSAM(dataclasses.replace(settings, carry=quick, matching=False)).transfer(session, Progress())[0]
    (result,) = MedPerSAM(dataclasses.replace(settings, carry=quick)).transfer(session, Progress())
    if trust < 0.1:
        assert (result.mask == alone.mask).all()
    else:
        assert dice(result.mask, elsewhere) > 0.8 and result.confidence >= alone.confidence
