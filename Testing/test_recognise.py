"""Whether a mask's looks would find the annotated structure again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from MedPerSAMLib.core.embeddings import Embedder
from MedPerSAMLib.core.grid import WorkingGrid
from MedPerSAMLib.core.propagate.ask import Questioner, RefinerSettings
from MedPerSAMLib.core.propagate.recognise import Shown, recognised
from MedPerSAMLib.core.propagate.step import StepSettings
from MedPerSAMLib.core.propagate.transfer import ImagePair, TransferSettings
from MedPerSAMLib.services.models.load import load_predictor
from Testing.test_proposals import ANNOTATED, IMAGE, RIGHT, WRONG, _Looks

SIDE = 16


def shown(inside: torch.Tensor, bright: torch.Tensor, on_image: torch.Tensor | None = None) -> Shown:
    """A mask over features of two kinds, with a little noise."""
    noise = torch.randn(3, SIDE, SIDE, generator=torch.Generator().manual_seed(5))
    kinds = torch.stack([bright.float(), 1 - bright.float(), torch.zeros(SIDE, SIDE)])
    on_image = torch.ones(SIDE, SIDE, dtype=torch.bool) if on_image is None else on_image
    return Shown(F.normalize(kinds + 0.05 * noise, dim=0), inside.float(), on_image)


def square(row: int, column: int, side: int = 5) -> torch.Tensor:
    mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    mask[row : row + side, column : column + side] = True
    return mask


def test_the_same_structure_elsewhere_is_recognised():
    annotated = shown(square(2, 3), square(2, 3))
    assert recognised(annotated, shown(square(9, 8), square(9, 8))) > 0.99


def test_the_opposite_is_not_recognised():
    annotated = shown(square(2, 3), square(2, 3))
    assert recognised(annotated, shown(square(9, 8), ~square(9, 8))) == 0.0


def test_a_mask_beside_the_structure_is_recognised_less_the_less_it_holds():
    annotated = shown(square(2, 3), square(2, 3))
    found = [recognised(annotated, shown(square(9, 8 + aside), square(9, 8))) for aside in (0, 4, 7)]
    assert found[0] >= found[1] > found[2]


def test_padding_and_frames_full_of_structure_say_nothing():
    annotated = shown(square(2, 3), square(2, 3))
    everything = torch.ones(SIDE, SIDE, dtype=torch.bool)
    assert recognised(annotated, shown(everything, everything)) == 0.0
    left = everything.clone()
    left[:, 8:] = False
    half = shown(square(9, 2), square(9, 2) | ~left, left)  # what looks alike lies in the padding
    assert recognised(annotated, half) > 0.99


def test_a_structure_thinner_than_a_place_is_those_that_it_covers_most():
    inside = 0.2 * square(4, 4, 2).float() + 0.1 * square(9, 9, 2).float()
    thin = Shown(torch.zeros(3, SIDE, SIDE), inside, torch.ones(SIDE, SIDE, dtype=torch.bool))
    assert torch.equal(thin.structure, square(4, 4, 2))
    assert not (thin.rest & (inside > 0)).any()


def test_sam_shows_a_mask_in_its_own_frame():
    predictor = load_predictor("tiny", "cpu").predictor
    grid = WorkingGrid.of(IMAGE.shape, (1.0, 1.0), max(IMAGE.shape))
    about = Questioner(predictor, Embedder(predictor, IMAGE[None]), grid, (1.0, 1.0), RefinerSettings(), 0)
    seen = about.show(0, ANNOTATED)
    assert seen.directions.shape[1:] == seen.inside.shape == seen.on_image.shape == (32, 32)
    assert torch.allclose(seen.directions.norm(dim=0), torch.ones(32, 32), atol=1e-4)
    assert 0.05 < float(seen.inside.mean()) < 0.6 and seen.on_image.any()
    assert recognised(seen, seen) > 0.9


@pytest.mark.parametrize("kept", [RIGHT, WRONG])
def test_a_proposal_that_would_find_the_annotation_again_wins(kept):
    known = lambda mask: float((mask & kept).sum() / (mask | kept).sum())
    pair = ImagePair(
        IMAGE, ANNOTATED, IMAGE, None, _Looks(np.zeros_like(RIGHT)), 0.0, 0.5, None, TransferSettings(), StepSettings(), None, known
    )
    assert (pair.best([RIGHT, WRONG]).mask == kept).all()
