"""A rough shape becomes the outline of what lies in it, on the generated abdomen."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy import ndimage

from MedPerSAMLib.core.intensity import normalise_volume
from MedPerSAMLib.core.outline import outline
from MedPerSAMLib.core.overlap import dice
from MedPerSAMLib.core.sam.predictor import Decoded, Prompts
from MedPerSAMLib.errors import InputError
from MedPerSAMLib.sample import REFERENCE_SLICE, sample_paths
from MedPerSAMLib.services.models.load import load_predictor


@pytest.fixture(scope="module")
def predictor():
    return load_predictor("tiny", "cpu").predictor


@pytest.fixture(scope="module")
def sample():
    """The reference slice in 0..1, its truth, and millimetres per (row, column)."""
    volume, truth = (sitk.ReadImage(str(path)) for path in (sample_paths().volume, sample_paths().truth))
    slices = normalise_volume(sitk.GetArrayFromImage(volume))
    return slices[REFERENCE_SLICE], sitk.GetArrayFromImage(truth)[REFERENCE_SLICE], volume.GetSpacing()[1::-1]


def rectangle(mask: np.ndarray) -> np.ndarray:
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    shape = np.zeros_like(mask)
    shape[rows[0] - 1 : rows[-1] + 2, columns[0] - 1 : columns[-1] + 2] = True
    return shape


def scribble(mask: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_filter(mask.astype(float), 4) > 0.3


@pytest.mark.parametrize("label", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("draw, least", [(rectangle, 0.85), (scribble, 0.88)])
def test_a_rough_shape_becomes_the_structure(predictor, sample, label, draw, least):
    image, truth, spacing = sample
    mask = truth == label
    shape = draw(mask)
    found = outline(predictor, image, shape, spacing)
    assert found.mask.shape == image.shape and found.mask.dtype == bool and 0 <= found.predicted_iou <= 1
    assert dice(found.mask, mask) > max(least, dice(shape, mask))


def test_only_a_shape_that_is_no_rectangle_is_a_mask_prompt(predictor, sample, monkeypatch):
    image, truth, spacing = sample
    asked: list[Prompts] = []
    decode = predictor.decode
    monkeypatch.setattr(predictor, "decode", lambda e, prompts, **more: asked.append(prompts) or decode(e, prompts, **more))
    outline(predictor, image, rectangle(truth == 1), spacing)
    outline(predictor, image, scribble(truth == 1), spacing)
    assert [prompts.mask_logits is not None for prompts in asked] == [False, True] * 3 + [True] * 3
    assert all(prompts.boxes is not None for prompts in asked)


def test_where_nothing_is_found_it_is_said(predictor, sample, monkeypatch):
    image, truth, spacing = sample
    nothing = Decoded(torch.full((1, 1, 128, 128), -5.0), torch.zeros(1, 1))
    monkeypatch.setattr(predictor, "decode", lambda *_, **__: nothing)
    with pytest.raises(InputError, match="finds no structure"):
        outline(predictor, image, rectangle(truth == 1), spacing)
