"""Looks at a frame at several sizes, and their mean."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from MedPerSAMLib.core.learn.changes import SCALE
from MedPerSAMLib.core.learn.magnified import MAGNIFICATIONS, at_several_sizes, magnified
from MedPerSAMLib.core.overlap import dice

SIZE = 64


def disc(radius: float, size: int = SIZE) -> torch.Tensor:
    """(1, 1, size, size), 1 inside a disc around the middle with an edge two pixels wide."""
    axis = torch.arange(size) + 0.5 - size / 2
    distance = (axis[:, None] ** 2 + axis[None, :] ** 2).sqrt()
    return ((radius - distance) / 2 + 0.5).clamp(0, 1)[None, None]


def as_probability(foreground: torch.Tensor) -> torch.Tensor:
    return torch.cat([1 - foreground, foreground], dim=1)


@pytest.mark.parametrize("factor", MAGNIFICATIONS)
def test_a_magnified_disc_is_that_much_larger(factor: float):
    assert torch.allclose(magnified(disc(16), factor), disc(16 * factor), atol=0.2)


def test_sizes_are_those_that_training_shows():
    assert all(1 / SCALE[1] <= factor <= 1 / SCALE[0] for factor in MAGNIFICATIONS)
    assert min(MAGNIFICATIONS) < 1 < max(MAGNIFICATIONS)


def test_looks_that_agree_change_nothing():
    frames = F.interpolate(torch.rand(2, 1, 6, 6, generator=torch.Generator().manual_seed(0)), SIZE, mode="bilinear")
    own = as_probability(frames)
    found = at_several_sizes(own, frames, as_probability)
    assert torch.allclose(found, own, atol=0.02)
    assert torch.allclose(found.sum(dim=1), torch.ones(2, SIZE, SIZE), atol=1e-5)


def test_what_a_part_gets_wrong_at_one_size_is_outvoted():
    frames = disc(12)

    def blind_to_its_own_size(shown: torch.Tensor) -> torch.Tensor:
        return as_probability(shown if abs(float(shown.sum()) / float(frames.sum()) - 1) > 0.2 else 0 * shown)

    own = blind_to_its_own_size(frames)
    assert not own[:, 1].any()
    found = at_several_sizes(own, frames, blind_to_its_own_size)[:, 1] > 0.5
    assert dice(found[0].numpy(), (frames > 0.5)[0, 0].numpy()) > 0.9


def test_a_magnified_look_has_no_say_beyond_its_view():
    own = as_probability(torch.zeros(1, 1, SIZE, SIZE))
    found = at_several_sizes(own, torch.zeros(1, 1, SIZE, SIZE), lambda shown: as_probability(shown + 1))[0, 1]
    middle, corner = float(found[SIZE // 2, SIZE // 2]), float(found[0, 0])
    assert middle == pytest.approx(2 / 3)
    assert corner == pytest.approx(1 / 2)  # of its own and of the smaller look
