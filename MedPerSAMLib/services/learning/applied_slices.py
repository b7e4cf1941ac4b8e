"""Keeps the slices that an application of a profile hands over, so that they survive its end by Ctrl-C."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from MedPerSAMLib.core.task import Propagation, Volume

if TYPE_CHECKING:
    from MedPerSAMLib.core.learn.apply import Applied


class AppliedSlices:
    """The slices of a volume that are finished.

    Args:
        volume: the volume that is segmented.
        classes: structures.
    """

    def __init__(self, volume: Volume, classes: int) -> None:
        count = len(volume.array)
        self._masks = np.zeros((classes, *volume.array.shape), bool)
        self._confidence = np.zeros((classes, count), np.float32)
        self._finished = np.zeros((classes, count), bool)

    @property
    def any_finished(self) -> bool:
        """Whether there is anything to keep."""
        return bool(self._finished.any())

    def on_slice(self, number: int, index: int, mask: np.ndarray, confidence: float) -> None:
        """Take the (rows, columns) bool mask of class ``number`` (from 1) on slice ``index``."""
        self._masks[number - 1, index], self._confidence[number - 1, index] = mask, confidence
        self._finished[number - 1, index] = True

    def applied(self) -> Applied:
        """What has been handed over until now."""
        from MedPerSAMLib.core.learn.apply import Applied

        note = "The work was stopped before all slices were finished."
        results = {
            row + 1: Propagation(mask, self._confidence[row], mask.any(axis=(1, 2)), self._finished[row], (note,))
            for row, mask in enumerate(self._masks)
        }
        return Applied(results)
