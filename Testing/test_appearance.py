"""The appearance: tells the structure from its surroundings on slices it has not seen, bears strange neighbours."""

import numpy as np
import pytest

from MedPerSAMLib.core.appearance import Appearance, AppearanceSettings, radius, ring_around
from MedPerSAMLib.core.features import PER_CHANNEL, context_features, level_features, local_features

ROWS, COLUMNS = np.mgrid[:96, :96]
EVERYTHING = (slice(0, 96), slice(0, 96))


def _disc(row, column, size):
    return (ROWS - row) ** 2 + (COLUMNS - column) ** 2 < size**2


def _slices(backgrounds, inside=0.6, seed=0):
    """One slice per background: a disc of intensity ``inside`` that moves, with noise."""
    rng = np.random.default_rng(seed)
    masks = [_disc(40 + 4 * n, 45 + 3 * n, 10) for n in range(len(backgrounds))]
    planes = [np.where(m, inside, b) + rng.normal(0, 0.03, m.shape) for m, b in zip(masks, backgrounds)]
    return np.clip(planes, 0, 1).astype(np.float32), masks


def _right(model, index, mask):
    found = model.log_odds(index, EVERYTHING) > 0
    near = mask | ring_around(mask, 1.0)
    return (found == mask)[near].mean()


def test_it_finds_the_structure_on_another_slice():
    planes, masks = _slices([0.3, 0.3, 0.3])
    model = Appearance(planes, {0: masks[0]}, AppearanceSettings(), seed=0)
    assert _right(model, 2, masks[2]) > 0.9


def test_strange_surroundings_are_borne_where_trained_for():
    planes, masks = _slices([0.05, 0.05, 0.05, 0.05, 0.3], inside=0.6)
    contrast = {
        share: Appearance(planes, {0: masks[0]}, AppearanceSettings(strange_context=share), seed=0).contrast(4, masks[4])
        for share in (0.0, 0.5)
    }
    assert contrast[0.5] > contrast[0.0] + 0.05, contrast


def test_contrast_is_high_on_the_structure_and_gone_elsewhere():
    planes, masks = _slices([0.3, 0.3])
    model = Appearance(planes, {0: masks[0]}, AppearanceSettings(), seed=0)
    assert model.contrast(1, masks[1]) > 0.6
    assert abs(model.contrast(1, _disc(80, 15, 8))) < 0.3


def test_the_same_seed_gives_the_same_log_odds():
    planes, masks = _slices([0.3, 0.3])
    a, b, c = (
        Appearance(planes, {0: masks[0]}, AppearanceSettings(), seed).log_odds(1, EVERYTHING) for seed in (0, 0, 1)
    )
    assert (a == b).all() and (a != c).any()


def test_log_odds_keep_their_limit_and_a_window_sees_what_the_whole_sees():
    planes, masks = _slices([0.3, 0.3])
    model = Appearance(planes, {0: masks[0]}, AppearanceSettings(limit=2.0), seed=0)
    whole, window = model.log_odds(1, EVERYTHING), (slice(30, 60), slice(20, 70))
    assert np.abs(whole).max() <= 2
    assert model.log_odds(1, window) == pytest.approx(whole[window], abs=2e-3)


def test_features_of_colour_are_those_of_each_channel():
    plane = np.random.default_rng(0).random((20, 30, 3)).astype(np.float32)
    features = local_features(plane)
    assert features.shape == (20, 30, 3 * PER_CHANNEL)
    assert (features[..., PER_CHANNEL : 2 * PER_CHANNEL] == local_features(plane[..., 1])).all()
    assert context_features(3 * PER_CHANNEL).sum() == 3 * 5 and level_features(PER_CHANNEL).sum() == 5


def test_radius_of_a_disc():
    assert radius(_disc(48, 48, 20)) == pytest.approx(20, rel=0.02)
