"""Prompts made from masks: inside where they should be, scaled with the structure, complete."""

import numpy as np
import pytest
import torch

from MedPerSAMLib.core.prompts.box import box_prompt
from MedPerSAMLib.core.prompts.mask_prompt import mask_prompt
from MedPerSAMLib.core.prompts.points import PointSettings, pad_points, point_prompts

ROWS, COLUMNS = np.mgrid[:128, :128]
ELLIPSE = ((ROWS - 60) / 30) ** 2 + ((COLUMNS - 70) / 18) ** 2 < 1


def test_a_sure_pixel_gets_the_full_logit_and_the_background_the_negative_one():
    logits = mask_prompt(torch.from_numpy(ELLIPSE.astype(np.float32))[None, None], 8.0, 128)
    assert logits.shape == (1, 1, 128, 128)
    assert logits[0, 0, 60, 70] == 8 and logits[0, 0, 0, 0] == -8


def test_a_mask_prompt_of_another_resolution_keeps_its_area():
    soft = torch.from_numpy(ELLIPSE.astype(np.float32))[None, None]
    inside = float((mask_prompt(soft, 10.0, 64) > 0).sum()) * 4
    assert inside == pytest.approx(ELLIPSE.sum(), rel=0.05)


def test_the_box_holds_the_mask_with_a_margin_and_stays_in_the_frame():
    x0, y0, x1, y1 = box_prompt(ELLIPSE, 2.0)
    rows, columns = np.flatnonzero(ELLIPSE.any(1)), np.flatnonzero(ELLIPSE.any(0))
    assert x0 <= columns[0] * 2 - 2 and x1 >= (columns[-1] + 1) * 2 + 2
    assert y0 <= rows[0] * 2 - 2 and y1 >= (rows[-1] + 1) * 2 + 2
    assert (box_prompt(np.ones((16, 16), bool), 4.0) == [0, 0, 64, 64]).all()


@pytest.mark.parametrize("mask", [ELLIPSE, (abs(ROWS - 40) < 1) & (COLUMNS > 20) & (COLUMNS < 90)])
def test_positives_lie_inside_and_negatives_outside_also_for_a_thin_line(mask):
    points, labels = point_prompts(mask, None, 2.0, PointSettings(), seed=0)
    inside = [bool(mask[int(y / 2), int(x / 2)]) for x, y in points]
    assert inside == [bool(label) for label in labels]
    assert labels.sum() >= 1 and (labels == 0).sum() >= 2


def test_positives_spread_over_the_structure_instead_of_clustering():
    score = np.exp(-((ROWS - 45) ** 2 + (COLUMNS - 70) ** 2) / 50)
    points, labels = point_prompts(ELLIPSE, score, 1.0, PointSettings(positives=3), seed=0)
    places = points[labels == 1]
    gaps = [np.linalg.norm(a - b) for i, a in enumerate(places) for b in places[:i]]
    assert len(places) == 3 and min(gaps) > 5


def test_a_point_whose_score_contradicts_it_is_dropped_but_one_positive_remains():
    hostile = np.where(ELLIPSE, -1.0, 1.0) * (1 + 0.2 * np.sin(ROWS / 3))
    _, labels = point_prompts(ELLIPSE, hostile, 1.0, PointSettings(), seed=0)
    assert labels.tolist() == [1]


def test_point_sets_of_different_lengths_are_padded_with_minus_one():
    sets = [point_prompts(ELLIPSE, None, 1.0, PointSettings(positives=n), 0) for n in (1, 4)]
    points, labels = pad_points(sets)
    assert points.shape[:2] == labels.shape == (2, len(sets[1][1]))
    assert (labels[0, len(sets[0][1]) :] == -1).all() and (labels[1] >= 0).all()
