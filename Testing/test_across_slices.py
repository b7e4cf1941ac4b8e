"""What neighbouring slices say of a slice."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import ndimage

from MedPerSAMLib.core.learn.across import WIDTH_MM, AcrossSlices


def blended(probability: torch.Tensor, spacing: float, alone: frozenset[int] = frozenset()) -> torch.Tensor:
    across, found = AcrossSlices(spacing, len(probability)), []
    for index, one in enumerate(probability):
        found += list(across.add(index, one, alone=index in alone))
    assert [index for index, _ in found] == list(range(len(probability)))
    return torch.stack([one for _, one in found])


def drawn(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(3)).softmax(dim=1)


def test_inner_slices_get_a_gaussian_mean_of_millimetres():
    probability = drawn(40)
    expected = ndimage.gaussian_filter1d(probability.numpy(), WIDTH_MM / 0.8, axis=0, truncate=2.8)
    assert blended(probability, 0.8)[8:-8].numpy() == pytest.approx(expected[8:-8], abs=1e-5)


@pytest.mark.parametrize("spacing", [0.5, 1.0, 3.0, 10.0])
@pytest.mark.parametrize("count", [1, 2, 5, 30])
def test_probabilities_stay_probabilities_at_the_ends_too(spacing: float, count: int):
    found = blended(drawn(count), spacing)
    assert torch.allclose(found.sum(dim=1), torch.ones(count, 4, 4), atol=1e-5)
    assert (found >= 0).all()


def test_thick_slices_stay_as_they_are():
    probability = drawn(6)
    assert torch.equal(blended(probability, 7.7), probability)


def test_a_slice_that_the_user_asked_for_stays_as_it_is():
    probability = drawn(20)
    found, plain = blended(probability, 1.0, frozenset([9])), blended(probability, 1.0)
    assert torch.equal(found[9], probability[9])
    assert not torch.allclose(plain[9], probability[9], atol=1e-3)
    assert torch.equal(found[8], plain[8])


def test_a_slice_that_alone_saw_nothing_is_filled_by_its_neighbours():
    probability = torch.zeros(21, 2, 4, 4)
    probability[:, 1], probability[10, 1], probability[10, 0] = 1.0, 0.0, 1.0
    assert (blended(probability, 1.0)[10, 1] > 0.5).all()


def test_no_more_slices_are_kept_than_can_still_matter():
    across = AcrossSlices(0.5, 200)
    for index, one in enumerate(drawn(200)):
        list(across.add(index, one))
        assert len(across._kept) <= 2 * math.ceil(2.5 * WIDTH_MM / 0.5) + 1
