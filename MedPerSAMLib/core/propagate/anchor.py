"""The anchor: the annotated mask warped straight onto a far slice, beside the chain that drifts (METHOD.md section 1, anchor blend)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from MedPerSAMLib.core.propagate.chain import Fields, Question, Said

_REACH = 3.0
"""Slices over which the anchor's say falls to a third."""

_LIMIT = 3.0
"""Log-odds of a pixel that is certain."""


class Anchor:
    """Gives a chain the log-odds of the nearest annotated mask, warped onto the slice at once.

    Args:
        fields: carry masks from any slice to any other.
        masks: annotated slice -> (rows, columns) bool on the working grid.
        weight: of the log-odds next to the annotated slice; less and less with the distance.
    """

    def __init__(self, fields: Fields, masks: Mapping[int, np.ndarray], weight: float) -> None:
        self._fields, self._masks, self._weight = fields, masks, weight

    def __call__(self, questions: Sequence[Question]) -> list[Said]:
        """Weighted log-odds in the windows."""
        return [self._about(question) for question in questions]

    def _about(self, question: Question) -> Said:
        index, _, window = question
        start = min(self._masks, key=lambda known: abs(known - index))
        warped = self._fields.carry(self._masks[start], start, index)[window]
        weight = self._weight * math.exp(-abs(index - start) / _REACH)
        return Said(weight * _LIMIT * (2 * warped - 1), {})
