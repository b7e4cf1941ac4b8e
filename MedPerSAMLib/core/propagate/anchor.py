"""The anchor: the annotated mask warped straight onto a far slice, beside the chain that drifts (METHOD.md section 1, anchor blend)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from MedPerSAMLib.core.features import Window
from MedPerSAMLib.core.propagate.chain import Fields

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

    def __call__(self, index: int, carried: np.ndarray, window: Window) -> tuple[np.ndarray, dict[str, float]]:
        """Weighted log-odds in the window."""
        start = min(self._masks, key=lambda known: abs(known - index))
        warped = self._fields.carry(self._masks[start], start, index)[window]
        weight = self._weight * math.exp(-abs(index - start) / _REACH)
        return weight * _LIMIT * (2 * warped - 1), {}
