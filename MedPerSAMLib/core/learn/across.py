"""What neighbouring slices say of a slice: a learned part sees one at a time, and thin slices show almost the same.

SciPy's Gaussian filter would need the probabilities of all slices at once, gigabytes for a CT with many organs; here slices come one by
one, and only those within reach are kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

WIDTH_MM = 2.0
"""Gaussian width, in millimetres across slices [I]."""

_REACH = 2.5
"""Widths beyond which a slice says nothing."""

_LEAST = 0.3
"""Widths in slices below which neighbours would count less than one part in a hundred."""


class AcrossSlices:
    """Blends each slice's probabilities with those of its neighbours, as they come in order.

    Args:
        spacing: millimetres between slices.
        count: of slices.
    """

    def __init__(self, spacing: float, count: int) -> None:
        width = WIDTH_MM / spacing
        reach = math.ceil(_REACH * width) if width >= _LEAST else 0
        self._weights = [math.exp(-0.5 * (away / width) ** 2) for away in range(reach + 1)]
        self._reach, self._count, self._next = reach, count, 0
        self._kept: dict[int, torch.Tensor] = {}
        self._alone: set[int] = set()

    def add(self, index: int, probability: torch.Tensor, alone: bool = False) -> Iterator[tuple[int, torch.Tensor]]:
        """Take the next slice's (1 + C, m, m) probabilities; gives (slice, blended ones) for all that are ready by it.

        ``alone`` leaves this slice as it is: what a user asked for there is to be seen there.
        """
        self._kept[index] = probability
        if alone:
            self._alone.add(index)
        last = index == self._count - 1
        while self._next < self._count and (last or self._next + self._reach <= index):
            yield self._next, self._blended(self._next)
            self._next += 1
            self._kept.pop(self._next - 1 - self._reach, None)

    def _blended(self, index: int) -> torch.Tensor:
        if index in self._alone or not self._reach:
            return self._kept[index]
        near = range(max(0, index - self._reach), min(self._count, index + self._reach + 1))
        weights = [self._weights[abs(other - index)] for other in near]
        return sum(weight * self._kept[other] for weight, other in zip(weights, near)) / sum(weights)
