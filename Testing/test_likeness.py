"""Where in another image a structure lies, by the embedded model's features."""

from __future__ import annotations

import numpy as np
import pytest

from MedPerSAMLib.core.embeddings import Embedder
from MedPerSAMLib.core.frame import Frame
from MedPerSAMLib.core.propagate.likeness import Likeness, LikenessSettings, annotated_windows, image_features
from MedPerSAMLib.core.sam.predictor import Predictor
from MedPerSAMLib.core.sam.tiny import load_tiny
from MedPerSAMLib.weights import weights_path

SETTINGS = LikenessSettings()


@pytest.fixture(scope="module")
def predictor():
    return Predictor(load_tiny(weights_path("tiny")))


def scene(centre, twin, scale=1.0, shape=(96, 128), seed=0):
    """A bright disc in a dark ring, and one as bright without a ring; the ring's disc is the structure."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    away = [np.hypot(rows - place[0], columns - place[1]) / scale for place in (centre, twin)]
    image = np.full(shape, 0.45)
    image[away[0] < 15] = 0.15
    image[(away[0] < 10) | (away[1] < 10)] = 0.85
    return (image + 0.02 * rng.standard_normal(shape)).astype(np.float32), away[0] < 10


def likeness(predictor, image, mask, target, settings=SETTINGS):
    embedders = [Embedder(predictor, plane[None]) for plane in (image, target)]
    windows = annotated_windows(embedders[0], mask, predictor.frame_size, settings)
    frame = Frame.full(target.shape, (1.0, 1.0), predictor.frame_size)
    features = image_features(embedders[1], frame, target.shape)
    return Likeness(windows, features, target.shape, tuple(np.argwhere(mask).mean(axis=0)), settings)


@pytest.mark.parametrize("place", [(40, 50), (62, 88)])
def test_surroundings_tell_it_from_what_looks_alike(predictor, place):
    image, mask = scene((45, 40), (50, 95))
    target, truth = scene(place, (35, 20), seed=1)
    found = likeness(predictor, image, mask, target)
    centre, scale = found.best()
    assert np.hypot(centre[0] - place[0], centre[1] - place[1]) < 5
    assert scale == 1.0
    twin = np.hypot(*(axis - c for axis, c in zip(np.mgrid[:96, :128], (35, 20)))) < 10
    assert found.at(truth) > 0.9 > found.at(twin)


@pytest.mark.parametrize("scale", [0.8, 1.25])
def test_size_is_found(predictor, scale):
    image, mask = scene((45, 40), (50, 95))
    target, _ = scene((45, 60), (30, 110), scale, seed=1)
    assert likeness(predictor, image, mask, target).best()[1] == scale


def test_an_image_without_it_still_has_a_best_place_inside(predictor):
    image, mask = scene((45, 40), (50, 95))
    found = likeness(predictor, image, mask, np.full((64, 128), 0.5, np.float32))
    (row, column), _ = found.best()
    assert 0 <= row < 64 and 0 <= column < 128
