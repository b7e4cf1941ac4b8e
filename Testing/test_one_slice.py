"""The methods that learn from the annotated slice alone: on a phantom they keep, repeat, stop and find.

The SAM here has random prompt encoder and decoder weights, and an encoder made by hand whose embedding is the image's intensity.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from MedPerSAMLib.core.learn.inputs import Inputs
from MedPerSAMLib.core.learn.one_slice import OneSliceSettings, window_frame, window_side
from MedPerSAMLib.core.learn.promise import decode_shifted
from MedPerSAMLib.core.learn.settings import FitSettings
from MedPerSAMLib.core.learn.token_shift import TokenShift
from MedPerSAMLib.core.methods.head_one import HeadOne
from MedPerSAMLib.core.methods.ips_one import IpsOne, IpsOneSettings
from MedPerSAMLib.core.methods.med_persam import MedPerSAM, Settings
from MedPerSAMLib.core.methods.one_slice import OneSliceMethodSettings
from MedPerSAMLib.core.overlap import dice
from MedPerSAMLib.core.progress import CallbackProgress, Progress
from MedPerSAMLib.core.propagate.chain import Question, Said, joined
from MedPerSAMLib.core.propagate.local_part import Belief
from MedPerSAMLib.core.sam.predictor import Predictor, Prompts
from MedPerSAMLib.core.session import VolumeSession
from MedPerSAMLib.core.task import Reference, Volume
from MedPerSAMLib.core.warp.network import load_warp
from MedPerSAMLib.errors import Cancelled, ModelError
from MedPerSAMLib.weights import weights_path
from Testing.test_baselines import EMBEDDING, WIDTH, random_sam

SHAPE, ANNOTATED = (9, 40, 52), 4
LEARN = OneSliceSettings(copies=16, held_out=4, fit=FitSettings(steps=30, batch=4, learning_rate=1e-2, checks=2))
SETTINGS = OneSliceMethodSettings(LEARN)
METHODS = {"head-one": HeadOne(SETTINGS), "ips-one": IpsOne(IpsOneSettings(LEARN))}


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    """A bright ellipsoid that ends a slice before each end of the volume."""
    k, row, column = np.indices(SHAPE)
    return ((k - 4) / 3.9) ** 2 + ((row - 18) / 10.0) ** 2 + ((column - 24) / 9.0) ** 2 < 1


@pytest.fixture(scope="module")
def volume(truth) -> Volume:
    noise = np.random.default_rng(0).normal(0, 0.02, SHAPE)
    return Volume((0.2 + 0.6 * truth + noise).astype(np.float32), (2.0, 1.0, 1.0))


@pytest.fixture
def session(volume) -> VolumeSession:
    return VolumeSession(volume, Predictor(random_sam(), batch=4), load_warp(weights_path("warp")), seed=3)


@pytest.fixture(scope="module")
def reference(truth) -> Reference:
    return Reference({ANNOTATED: truth[ANNOTATED]}, "ball")


@pytest.mark.parametrize("name", METHODS)
def test_annotated_slices_stay_and_the_rest_is_finished(name, session, truth):
    reference = Reference({2: truth[2], 5: truth[5]})
    result = METHODS[name].propagate(session, reference, Progress())
    assert result.mask.shape == SHAPE and result.mask.dtype == bool and result.finished.all()
    assert np.array_equal(result.mask[[2, 5]], truth[[2, 5]]) and np.array_equal(result.confidence[[2, 5]], [1, 1])
    assert ((result.confidence >= 0) & (result.confidence <= 1)).all()
    assert np.array_equal(result.present, result.mask.any(axis=(1, 2)))


@pytest.mark.parametrize("name", METHODS)
def test_a_range_limits_the_work(name, session, reference):
    seen = []
    listener = CallbackProgress(on_slice=lambda index, *_: seen.append(index))
    result = METHODS[name].propagate(session, reference, listener, range(3, 7))
    assert set(seen) == {3, 5, 6} and np.flatnonzero(result.finished).tolist() == [3, 4, 5, 6]
    assert not result.mask[[0, 1, 2, 7, 8]].any()


@pytest.mark.parametrize("name", METHODS)
def test_a_cancel_is_heard_while_it_learns(name, session, reference):
    heard = []
    listener = CallbackProgress(lambda *step: heard.append(step), is_cancelled=lambda: len(heard) >= 9)
    with pytest.raises(Cancelled):
        METHODS[name].propagate(session, reference, listener)
    assert len(heard) == 9 and heard[-1][0] == "learning from the annotated slice"


@pytest.mark.parametrize("name", METHODS)
def test_the_seed_decides_everything(name, volume, reference):
    results = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        fresh = VolumeSession(volume, Predictor(random_sam(), batch=4), seed=3)
        torch.manual_seed(noise)
        results.append(METHODS[name].propagate(fresh, reference, Progress()))
    assert np.array_equal(results[0].mask, results[1].mask)
    assert np.array_equal(results[0].confidence, results[1].confidence)


def test_a_box_in_the_middle_changes_what_the_shift_learns(session, reference):
    near, boxed = range(3, 6), IpsOne(IpsOneSettings(LEARN, box=True))
    plain = METHODS["ips-one"].propagate(session, reference, Progress(), near)
    assert not np.array_equal(plain.confidence, boxed.propagate(session, reference, Progress(), near).confidence)


@pytest.mark.parametrize("name", METHODS)
def test_no_model_no_result(name, volume, reference):
    with pytest.raises(ModelError, match="needs a SAM"):
        METHODS[name].propagate(VolumeSession(volume), reference, Progress())


def test_the_head_finds_the_structure_and_its_ends(session, reference, truth):
    longer = dataclasses.replace(LEARN, fit=dataclasses.replace(LEARN.fit, steps=60))
    found = HeadOne(OneSliceMethodSettings(longer)).propagate(session, reference, Progress()).mask
    others = np.arange(SHAPE[0]) != ANNOTATED
    assert dice(found[others], truth[others]) > 0.8
    assert not found[[0, -1]].any()


def test_no_shift_is_the_plain_decoder_and_sam_stays_as_it_was(session, reference):
    sam = session.predictor.sam
    before = {key: value.clone() for key, value in sam.state_dict().items()}
    embeddings = torch.randn(2, WIDTH, EMBEDDING, EMBEDDING)
    shifted = TokenShift(sam)(Inputs(embeddings))
    size = session.predictor.mask_size
    assert shifted.shape == (2, 2, size, size) and not shifted[:, 0].any()
    assert torch.allclose(shifted[:, 1], decode_shifted(sam, embeddings, Prompts(), None)[:, 1], atol=1e-5)
    METHODS["ips-one"].propagate(session, reference, Progress(), range(3, 6))
    assert all(torch.equal(value, before[key]) for key, value in sam.state_dict().items())


def test_med_persam_takes_the_head_along(session, reference):
    near = range(2, 7)
    settings = Settings(head=True, head_learn=LEARN)
    with_head, again = (MedPerSAM(settings).propagate(session, reference, Progress(), near) for _ in range(2))
    assert np.array_equal(with_head.mask, again.mask)
    assert np.array_equal(with_head.mask[ANNOTATED], reference.masks[ANNOTATED])
    with pytest.raises(ModelError, match="needs a SAM"):
        alone = dataclasses.replace(settings, sam=False)
        MedPerSAM(alone).propagate(VolumeSession(session.volume, None, session.warp_network), reference, Progress())


def test_belief_falls_with_the_separation():
    belief = Belief(weight=0.8, useless=0.5)
    assert [round(belief.weight_of(s), 6) for s in (0.2, 0.5, 0.75, 1.0)] == [0, 0, 0.4, 0.8]


def test_the_window_spans_a_few_extents_and_never_more_than_the_slice():
    mask = np.zeros((60, 80), bool)
    mask[20:30, 40:44] = True
    assert window_side([mask], (2.0, 1.0), 2.0) == 40
    frame = window_frame((25.0, 42.0), 40, mask.shape, (2.0, 1.0), 64)
    assert frame.step == (40 / 64 / 2, 40 / 64) and abs(frame.origin[0] + 10 - 25) < 1
    assert window_frame((25.0, 42.0), 120, mask.shape, (2.0, 1.0), 64).origin == (0, 0)


def test_refiners_add_up_and_one_without_an_answer_is_left_out():
    window = (slice(0, 2), slice(0, 2))

    def saying(value, **signs):
        return lambda questions: [
            Said(None if value is None else np.full((2, 2), value + question.index), signs) for question in questions
        ]

    questions = [Question(index, np.ones((2, 2), bool), window) for index in (0, 10)]
    first, second = joined([saying(1.0, a=0.1), saying(None, b=0.2), saying(2.0)])(questions)
    assert (first.log_odds == 3).all() and (second.log_odds == 23).all() and first.signs == {"a": 0.1, "b": 0.2}
    assert joined([saying(None)])(questions)[0].log_odds is None and joined([]) is None
