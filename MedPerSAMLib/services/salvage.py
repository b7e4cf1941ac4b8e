"""Keeps what work hands over, the slices of a propagation or the targets of a transfer, so that it survives Ctrl-C."""

from __future__ import annotations

import numpy as np

from MedPerSAMLib.core.progress import Progress, Relay
from MedPerSAMLib.core.task import Propagation, Reference, Transfer, Volume


class Salvage(Relay):
    """Listens to one propagation, keeps its slices and passes everything on.

    Args:
        volume: the volume that is segmented.
        reference: the structure's annotated slices.
        listener: told everything.
    """

    def __init__(self, volume: Volume, reference: Reference, listener: Progress) -> None:
        super().__init__(listener)
        count = len(volume.array)
        self._mask = np.zeros(volume.array.shape, bool)
        self._confidence = np.zeros(count, np.float32)
        self._finished = np.zeros(count, bool)
        for index, mask in reference.masks.items():
            self._mask[index], self._confidence[index], self._finished[index] = mask, 1, True
        self._annotated = frozenset(reference.masks)

    def slice_done(self, index: int, mask: np.ndarray, confidence: float) -> None:
        if index not in self._annotated:
            self._mask[index], self._confidence[index], self._finished[index] = mask, confidence, True
        super().slice_done(index, mask, confidence)

    def propagation(self) -> Propagation:
        """What has been handed over until now."""
        return Propagation(
            self._mask.copy(),
            self._confidence.copy(),
            self._mask.any(axis=(1, 2)),
            self._finished.copy(),
            ("The work was stopped before all slices were finished.",),
        )


class TargetSalvage(Relay):
    """Listens to one transfer, keeps the targets that it hands over as slices, and passes everything on.

    Args:
        listener: told everything.

    Attributes:
        transfers: number of the target -> result.
    """

    def __init__(self, listener: Progress) -> None:
        super().__init__(listener)
        self.transfers: dict[int, Transfer] = {}

    def slice_done(self, index: int, mask: np.ndarray, confidence: float) -> None:
        self.transfers[index] = Transfer(mask, confidence)
        super().slice_done(index, mask, confidence)
