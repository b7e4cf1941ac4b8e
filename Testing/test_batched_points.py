"""Training's batched g_point gives the points of the pipeline's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.cluster.vq import kmeans2

from MedPerSAMLib.core.prompts.points import PointSettings, point_prompts
from Testing.training.fields import Random
from Testing.training.g_point import distance, g_points, likeness

SIDE, SCALE = 64, 2.0


def blobs(rng: np.random.Generator) -> np.ndarray:
    """A smooth random mask, sometimes thin or in parts."""
    field = ndimage.gaussian_filter(rng.standard_normal((SIDE, SIDE)), rng.uniform(2, 9))
    return field > np.quantile(field, rng.uniform(0.6, 0.99))


def own_centres(mask: np.ndarray, settings: PointSettings, seed: int) -> np.ndarray:
    """The division that point_prompts makes; repeated centres where there are fewer pixels than cells."""
    radius = max(1.0, float(np.sqrt(mask.sum() / np.pi)))
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    inside = depth > settings.inner * radius
    inside = inside if inside.any() else depth >= 0.7 * depth.max()
    places = np.argwhere(inside).astype(float)
    count = min(settings.positives, len(places))
    centres = places[:1] if count == 1 else kmeans2(places, count, minit="++", seed=seed)[0]
    return np.concatenate([centres, np.repeat(centres[-1:], settings.positives - count, axis=0)])


def as_set(points: np.ndarray, labels: np.ndarray) -> set:
    return {(*point, label) for point, label in zip(points.tolist(), labels.tolist()) if label >= 0}


@pytest.mark.parametrize("span", [1.0, 0.01], ids=["a score that decides", "a flat score"])
def test_points_are_those_of_the_pipeline(span):
    rng, settings = np.random.default_rng(3), PointSettings()
    masks = [blobs(rng) for _ in range(40)] + [np.eye(SIDE, dtype=bool), np.pad([[True]], ((9, SIDE - 10), (5, SIDE - 6)))]
    scores = [span * ndimage.gaussian_filter(rng.standard_normal((SIDE, SIDE)), 3) * 8 for _ in masks]
    centres = torch.from_numpy(np.stack([own_centres(mask, settings, 5) for mask in masks]))
    points, labels = g_points(
        Random(0), torch.from_numpy(np.stack(masks)), torch.from_numpy(np.stack(scores)), SCALE, settings, centres
    )
    for row, (mask, score) in enumerate(zip(masks, scores)):
        expected = as_set(*point_prompts(mask, score, SCALE, settings, 5))
        assert as_set(points[row].numpy(), labels[row].numpy()) == expected, row


def test_an_unknown_score_drops_nothing():
    rng = np.random.default_rng(4)
    mask = blobs(rng)
    centres = torch.from_numpy(own_centres(mask, PointSettings(), 5))[None]
    found = g_points(Random(0), torch.from_numpy(mask)[None], torch.zeros(1, SIDE, SIDE), SCALE, PointSettings(), centres)
    expected = as_set(*point_prompts(mask, None, SCALE, PointSettings(), 5))
    assert as_set(found[0][0].numpy(), found[1][0].numpy()) == expected


def test_own_cells_divide_the_inside():
    rng = np.random.default_rng(6)
    masks = torch.from_numpy(np.stack([blobs(rng) for _ in range(8)]))
    points, labels = g_points(Random(1), masks, torch.zeros(8, SIDE, SIDE), SCALE)
    for mask, places, kinds in zip(masks, (points / SCALE).long(), labels):
        inside = places[kinds == 1]
        assert 1 <= len(inside) <= 3
        assert len({tuple(p.tolist()) for p in inside}) == len(inside)
        assert all(mask[y, x] for x, y in inside)
        assert not any(mask[y, x] for x, y in places[kinds == 0])


def test_an_empty_mask_gives_no_point():
    _, labels = g_points(Random(0), torch.zeros(2, SIDE, SIDE, dtype=torch.bool), torch.zeros(2, SIDE, SIDE), SCALE)
    assert (labels == -1).all()


def test_distances_are_exact():
    rng = np.random.default_rng(8)
    masks = np.stack([rng.random((40, 50)) > share for share in (0.5, 0.99, 0.9)])
    found = distance(torch.from_numpy(masks)).numpy()
    expected = np.stack([ndimage.distance_transform_edt(~mask) for mask in masks])
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_likeness_tells_a_structure_from_its_surroundings_and_knows_nothing_of_an_empty_one():
    torch.manual_seed(0)
    inside, outside = torch.nn.functional.normalize(torch.randn(2, 8), dim=1)
    mask = torch.zeros(2, 1, SIDE, SIDE)
    mask[0, 0, 16:48, 16:48] = 1
    coarse = torch.nn.functional.max_pool2d(mask[:1], 4)
    one = coarse * inside[:, None, None] + (1 - coarse) * outside[:, None, None]
    found = likeness(one.expand(2, -1, -1, -1), one.expand(2, -1, -1, -1), mask, SIDE)
    assert found[0][20:44, 20:44].min() > 0.5 > -0.5 > found[0][:8].max()
    assert not found[1].any()
