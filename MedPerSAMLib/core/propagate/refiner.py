"""SAM's part in a chain: what it says of a carried mask, weighted by how well it repairs damaged copies of the annotation.

A weak model must not overrule a good warp, and which of them is weak differs from case to case; so the weight is chosen on
the annotated slice, without any other label (METHOD.md section 1, calibration and fusion).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from MedPerSAMLib.core.appearance import radius
from MedPerSAMLib.core.overlap import dice
from MedPerSAMLib.core.propagate.ask import Answer, Questioner, RefinerSettings
from MedPerSAMLib.core.propagate.chain import Question, Said

UNFUSED_WEIGHT = 0.5
"""Of SAM's log-odds where they are not weighed by what SAM repairs."""


@dataclass(frozen=True)
class Calibration:
    """How SAM is asked and believed about a structure.

    Attributes:
        sharpness: logits of the mask prompt.
        weight: of SAM's log-odds; 0 where it repairs nothing.
    """

    sharpness: float
    weight: float


def calibrate(
    questioner: Questioner, index: int, mask: np.ndarray, settings: RefinerSettings, seed: int
) -> Calibration:
    """Sharpness of the mask prompt and weight of SAM, chosen on damaged copies of an annotated mask.

    The weight is 0 where SAM repairs nothing and grows with the part of the damage that it repairs; without fusion it is a half.

    Args:
        questioner: asks SAM on the stack that holds the annotated slice; from then on it knows what the structure looks like.
        index: the annotated slice.
        mask: (rows, columns) bool on the working grid.
        settings: how SAM is asked and believed.
        seed: of the damaged copies.
    """
    questioner.prototypes = [questioner.prototype(index, mask)]
    rng = np.random.default_rng(seed)
    copies = [damaged for damaged in (_damage(mask, rng) for _ in range(settings.damaged_copies)) if damaged.any()]
    if not copies:
        return Calibration(settings.sharpness[-1], 0.0)
    harm = float(np.mean([1 - dice(damaged, mask) for damaged in copies]))
    tried = settings.sharpness if settings.mask else settings.sharpness[-1:]
    answers = iter(questioner.ask_all([(index, damaged, sharpness) for sharpness in tried for damaged in copies]))
    left = {
        sharpness: float(np.mean([1 - dice(next(answers).log_odds > 0, mask) for _ in copies])) for sharpness in tried
    }
    best = min(left, key=left.get)
    if not settings.fusion:
        return Calibration(best, UNFUSED_WEIGHT)
    repaired = harm / max(harm + left[best], 1e-6)
    return Calibration(best, settings.weight * 2 * max(0.0, repaired - 0.25))


class SamRefiner:
    """Gives a chain SAM's log-odds for a carried mask.

    Args:
        annotated: asks SAM on the stack that holds the annotated slices.
        references: annotated index -> (rows, columns) bool on the annotated working grid.
        settings: how SAM is asked and believed.
        calibration: what the largest of them taught about that.
    """

    def __init__(
        self,
        annotated: Questioner,
        references: Mapping[int, np.ndarray],
        settings: RefinerSettings,
        calibration: Calibration,
    ) -> None:
        self._questioner, self._settings, self._calibration = annotated, settings, calibration
        annotated.prototypes = [annotated.prototype(index, mask) for index, mask in references.items()]
        self._typical = annotated.prototypes[int(np.argmax([np.count_nonzero(mask) for mask in references.values()]))]

    def on(self, other: Questioner) -> SamRefiner:
        """The same structure and calibration, asked on another stack of images."""
        moved = copy.copy(self)
        other.prototypes, moved._questioner = self._questioner.prototypes, other
        return moved

    def __call__(self, questions: Sequence[Question]) -> list[Said]:
        """Weighted log-odds for carried masks, or None where SAM's answer is no help; all are decoded together."""
        sharpness = self._calibration.sharpness
        answers = self._questioner.ask_all([(index, carried, sharpness) for index, carried, _ in questions])
        return [self._weighed(*pair) for pair in zip(questions, answers)]

    def contrast(self, index: int, mask: np.ndarray, about: np.ndarray) -> float:
        """How far SAM's features inside a mask differ from those around it as they do on the largest annotation.

        Args:
            index: the slice.
            mask: (rows, columns) bool, not empty.
            about: (rows, columns) bool; seen in the frame that shows this one, which was encoded when SAM was asked about it.

        Returns:
            The inner product of the two differences of mean directions, -4..4; 0 where nothing tells inside from around, below 0 where
            they are exchanged.
        """
        inside, around = self._typical
        seen_inside, seen_around = self._questioner.prototype(index, mask, about)
        return float((seen_inside - seen_around) @ (inside - around))

    def by_box(self, index: int, mask: np.ndarray) -> Answer:
        """What SAM sees in the box of a non-empty mask, not weighted; for masks that are only roughly in place."""
        return self._questioner.ask_by_box(index, mask)

    def _weighed(self, question: Question, answer: Answer) -> Said:
        _, carried, window = question
        found = answer.log_odds > 0
        agreement = dice(found, carried)
        signs = {"predicted_iou": answer.predicted_iou, "agreement": agreement}
        share = np.count_nonzero(found) / np.count_nonzero(carried)
        low, high = self._settings.area_range
        if agreement < self._settings.least_agreement or not low <= share <= high or not self._calibration.weight:
            return Said(None, signs)
        limit = self._settings.limit
        return Said(self._calibration.weight * np.clip(answer.log_odds[window], -limit, limit), signs)


def _damage(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A copy as a warp might carry it: shifted, scaled and bent by about a tenth of the structure's size."""
    size = radius(mask)
    shape = mask.shape
    bend = [ndimage.gaussian_filter(rng.standard_normal(shape), max(1.0, 0.5 * size)) for _ in range(2)]
    bend = [b / (b[mask].std() + 1e-9) * 0.08 * size + rng.normal(0, 0.06 * size) for b in bend]
    centre = np.argwhere(mask).mean(axis=0)
    scale = rng.uniform(0.9, 1.1)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    places = [(axis - c) * scale + c + b for axis, c, b in zip((rows, columns), centre, bend)]
    return ndimage.map_coordinates(mask.astype(np.float32), places, order=1) > 0.5
