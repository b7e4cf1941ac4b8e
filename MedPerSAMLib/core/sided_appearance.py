"""The appearance of a structure that is annotated on several slices, on each side of the largest annotation by itself."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from MedPerSAMLib.core.appearance import Appearance, AppearanceSettings
from MedPerSAMLib.core.features import Window


class SidedAppearance:
    """Classifiers of one structure: on either side of its largest annotation, one learned from that and that side's others.

    A correction teaches much about the slices between it and the largest annotation, and nothing about those beyond the
    latter: there, learning from a correction at the other end of the structure changed the result for the worse as often
    as for the better. So a side without a correction keeps the result that it had.

    Args:
        planes: as for Appearance.
        references: index -> (rows, columns) bool on the working grid, none empty.
        settings: how each classifier is trained, once it is needed.
        seed: of initial weights and samples.
        trained: classifiers that earlier runs on the same slices have trained; new ones are added, so that a correction does
            not train its first run's again.
    """

    def __init__(
        self,
        planes: Sequence[np.ndarray],
        references: Mapping[int, np.ndarray],
        settings: AppearanceSettings,
        seed: int,
        trained: dict[Hashable, Appearance] | None = None,
    ) -> None:
        self._planes, self._references, self._settings, self._seed = planes, references, settings, seed
        self._trained = {} if trained is None else trained
        self._keys = {i: (i, hashlib.sha256(mask.tobytes()).digest()) for i, mask in references.items()}
        self._largest = max(references, key=lambda index: np.count_nonzero(references[index]))

    def log_odds(self, index: int, window: Window) -> np.ndarray:
        """(window rows, window columns) float32, positive where slice ``index`` looks like the structure."""
        return self._at(index).log_odds(index, window)

    def contrast(self, index: int, mask: np.ndarray) -> float:
        """Mean probability inside a mask on slice ``index`` less that in the ring around it, -1..1."""
        return self._at(index).contrast(index, mask)

    def _at(self, index: int) -> Appearance:
        largest, side = self._largest, np.sign(index - self._largest)
        known = tuple(i for i in sorted(self._references) if i == largest or np.sign(i - largest) == side)
        key = (self._settings, self._seed, *(self._keys[i] for i in known))
        if key not in self._trained:
            masks = {i: self._references[i] for i in known}
            self._trained[key] = Appearance(self._planes, masks, self._settings, self._seed)
        return self._trained[key]
