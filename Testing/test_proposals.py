"""Which of several proposals on another image is kept: by what SAM says, by looks, and by place."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from MedPerSAMLib.core.methods import med_persam
from MedPerSAMLib.core.methods.matcher import Matcher
from MedPerSAMLib.core.methods.med_persam import MedPerSAM, Settings
from MedPerSAMLib.core.methods.persam import PerSAM
from MedPerSAMLib.core.methods.way_back import WayBack
from MedPerSAMLib.core.overlap import dice
from MedPerSAMLib.core.progress import CallbackProgress, Progress
from MedPerSAMLib.core.propagate.ask import Answer, Questioner
from MedPerSAMLib.core.propagate.chain import Said
from MedPerSAMLib.core.propagate.step import StepSettings
from MedPerSAMLib.core.propagate.transfer import ImagePair, TransferSettings, expected_dice, working_image
from MedPerSAMLib.core.session import ImageSession
from MedPerSAMLib.core.task import Transfer
from MedPerSAMLib.core.warp.network import load_warp
from MedPerSAMLib.errors import Cancelled
from MedPerSAMLib.services.models.load import load_predictor
from MedPerSAMLib.weights import weights_path

ROWS, COLUMNS = np.mgrid[:64, :80]


def _disc(row, column, size):
    return (ROWS - row) ** 2 + (COLUMNS - column) ** 2 < size**2


ANNOTATED, RIGHT, WRONG = _disc(32, 40, 12), _disc(20, 60, 12), _disc(48, 14, 12)
SMALLER = _disc(20, 60, 10)
IMAGE = np.where(ANNOTATED, 0.8, 0.2).astype(np.float32)


def test_expected_dice_wants_all_of_what_looks_right_and_nothing_else():
    probability = np.where(ANNOTATED, 0.9, 0.05)
    whole = expected_dice(ANNOTATED, probability)
    assert whole > max(expected_dice(_disc(32, 40, 6), probability), expected_dice(_disc(32, 40, 24), probability))
    assert expected_dice(np.zeros(IMAGE.shape, bool), probability) == 0


class _Looks:
    """An appearance by which one mask looks like the structure."""

    def __init__(self, mask):
        self._log_odds = np.where(mask, 3.0, -3.0).astype(np.float32)

    def log_odds(self, index, window):
        return self._log_odds[window]

    def contrast(self, index, mask):
        return 0.5


class _Likes:
    """A likeness by which one mask lies where the structure should."""

    def __init__(self, mask):
        self._mask = mask

    def best(self):
        return tuple(np.argwhere(self._mask).mean(axis=0)), 1.0

    def at(self, mask):
        return dice(mask, self._mask)


def _pair(looks, distinct, likeness=None):
    return ImagePair(
        IMAGE, ANNOTATED, IMAGE, None, _Looks(looks), 0.5, distinct, None, TransferSettings(), StepSettings(), likeness
    )


def test_a_mask_from_elsewhere_wins_where_the_target_looks_like_the_structure_there():
    own = _pair(RIGHT, 1.0).best()
    found = _pair(RIGHT, 1.0).best([WRONG, np.zeros(IMAGE.shape, bool), RIGHT])
    assert (found.mask == RIGHT).all() and 1 >= found.score >= own.score


@pytest.mark.parametrize(("distinct", "kept"), [(0.9, RIGHT), (0.1, WRONG)])
def test_looks_count_where_they_find_the_annotated_structure_and_the_place_elsewhere(distinct, kept):
    # By its looks it is here, by its place there.
    found = _pair(RIGHT, distinct, _Likes(WRONG)).best([RIGHT, WRONG])
    assert dice(found.mask, kept) > 0.8


@pytest.mark.parametrize("kept", [RIGHT, WRONG])
def test_a_proposal_from_which_the_way_leads_back_wins(kept):
    asked = []

    def way_back(mask):
        asked.append(mask)
        return dice(mask, kept)

    looks = _Looks(np.zeros_like(RIGHT))
    pair = ImagePair(IMAGE, ANNOTATED, IMAGE, None, looks, 0.0, 0.5, None, TransferSettings(), StepSettings(), way_back=way_back)
    found = pair.best([RIGHT, WRONG])
    assert (found.mask == kept).all() and 1 < len(asked) <= 3
    alone = ImagePair(IMAGE, ANNOTATED, IMAGE, None, looks, 0.0, 0.5, None, TransferSettings(), StepSettings())
    assert found.score == alone.best([RIGHT, WRONG]).score, "a whole way back takes nothing away"


def test_the_way_is_not_gone_back_for_what_cannot_win():
    asked = []
    pair = ImagePair(
        IMAGE, ANNOTATED, IMAGE, None, _Looks(RIGHT), 0.5, 1.0, None, TransferSettings(), StepSettings(),
        way_back=lambda mask: asked.append(mask) or 1.0,
    )
    assert (pair.best([WRONG, RIGHT]).mask == RIGHT).all() and len(asked) == 1


class _Drawer:
    """A refiner that leaves every mask as it is, and draws a structure by its box."""

    def __init__(self, seen, predicted_iou):
        self._seen, self._iou, self.asked = seen, predicted_iou, 0

    def __call__(self, questions):
        return [Said(None, {"predicted_iou": 0.5}) for _ in questions]

    def by_box(self, index, mask):
        self.asked += 1
        return Answer(np.where(self._seen & ndimage.binary_dilation(mask, iterations=3), 5.0, -5.0), self._iou)


@pytest.mark.parametrize(("redraw", "iou", "kept"), [(True, 0.9, RIGHT), (True, 0.3, SMALLER), (False, 0.9, SMALLER)])
def test_what_sam_sees_in_a_proposals_box_is_a_proposal_too(redraw, iou, kept):
    drawer = _Drawer(RIGHT, iou)
    settings = dataclasses.replace(TransferSettings(), redraw=redraw)
    pair = ImagePair(IMAGE, SMALLER, IMAGE, None, _Looks(np.zeros_like(RIGHT)), 0.0, 0.5, drawer, settings, StepSettings())
    assert (pair.best().mask == kept).all() and drawer.asked == int(redraw)


def test_a_box_in_which_sam_sees_nothing_is_no_proposal():
    drawer = _Drawer(np.zeros_like(RIGHT), 0.9)
    pair = ImagePair(IMAGE, RIGHT, IMAGE, None, _Looks(np.zeros_like(RIGHT)), 0.0, 0.5, drawer, TransferSettings(), StepSettings())
    assert (pair.best().mask == RIGHT).all() and drawer.asked == 1


def test_the_way_back_finds_the_annotation_from_the_right_place_only():
    target = np.roll(IMAGE, (-12, 20), axis=(0, 1))
    session = ImageSession(IMAGE, ANNOTATED, [target], load_predictor("tiny", "cpu").predictor)
    grid, _ = working_image(target, 80)
    back = WayBack(Matcher(), session, Progress())
    right, wrong = (back.finds(0, grid, grid.mask_from_native(mask)) for mask in (RIGHT, WRONG))
    assert right > 0.7 > wrong
    assert back.finds(0, grid, np.zeros(grid.shape, bool)) == 0
    with pytest.raises(Cancelled):
        WayBack(Matcher(), session, CallbackProgress(is_cancelled=lambda: True)).finds(0, grid, grid.mask_from_native(RIGHT))


def _session(target):
    return ImageSession(
        IMAGE, ANNOTATED, [target], load_predictor("tiny", "cpu").predictor, load_warp(weights_path("warp"))
    )


def test_images_are_asked_about_as_often_as_the_transfer_says(monkeypatch):
    asked = []

    class Listening(Questioner):
        def __init__(self, predictor, embedder, grid, spacing, settings, seed):
            asked.append((settings.rounds, settings.alternatives))
            super().__init__(predictor, embedder, grid, spacing, settings, seed)

    monkeypatch.setattr(med_persam, "Questioner", Listening)
    settings = Settings(likeness=False, matching=False)
    look = dataclasses.replace(settings.carry.look, steps=20)
    carry = dataclasses.replace(settings.carry, look=look, rounds=0)
    MedPerSAM(dataclasses.replace(settings, carry=carry)).transfer(_session(IMAGE), Progress())
    assert set(asked) == {(0, True)} != {(settings.refine.rounds, settings.refine.alternatives)}


@pytest.mark.parametrize("finder", [Matcher, PerSAM])
def test_transfer_weighs_what_others_find(monkeypatch, finder):
    elsewhere, asked = _disc(14, 14, 12), []

    def find_in(self, session, learned, number):
        asked.append(type(self))
        return Transfer(elsewhere if type(self) is finder else np.zeros(IMAGE.shape, bool), 0.5)

    for kind in (Matcher, PerSAM):
        monkeypatch.setattr(kind, "find_in", find_in)
    settings = Settings(likeness=False)
    look = dataclasses.replace(settings.carry.look, steps=20)
    quick = dataclasses.replace(settings.carry, look=look, returning=0.0)
    target = np.where(elsewhere, IMAGE.max(), IMAGE.min()).astype(np.float32)
    session = _session(target)
    alone = MedPerSAM(dataclasses.replace(settings, carry=quick, matching=False)).transfer(session, Progress())[0]
    assert not asked
    (result,) = MedPerSAM(dataclasses.replace(settings, carry=quick)).transfer(session, Progress())
    assert asked == [Matcher, PerSAM]
    assert dice(result.mask, elsewhere) > 0.8 and result.confidence >= alone.confidence
