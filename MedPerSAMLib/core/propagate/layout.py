"""Who visits which slices: chains from every annotated slice to the next one, or to the end of the range."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

Run = tuple[int, tuple[int, ...]]
"""(annotated slice, slices to visit from there, in order)."""


@dataclass(frozen=True)
class Layout:
    """Which chain visits which slices.

    Attributes:
        masks: annotated slice -> (rows, columns) bool on the working grid.
        runs: (annotated slice, slices to visit in order) for each chain; between two annotated slices both chains visit
            all slices.
        between: slices that lie between two annotated ones.
    """

    masks: Mapping[int, np.ndarray]
    runs: tuple[Run, ...]
    between: frozenset[int]

    @classmethod
    def of(cls, wanted: Iterable[int], masks: Mapping[int, np.ndarray]) -> Layout:
        """Chains from every annotated slice to the next one, or to the end of the wanted slices."""
        wanted, annotated = set(wanted), sorted(masks)
        runs, between = [], set()
        for start in annotated:
            for direction in (1, -1):
                run, index = [], start + direction
                while index in wanted and index not in masks:
                    run.append(index)
                    index += direction
                runs.append((start, tuple(run)))
                if index in masks:
                    between.update(run)
        return cls(masks, tuple(runs), frozenset(between))

    @property
    def largest(self) -> int:
        """The annotated slice with the largest mask."""
        return max(self.masks, key=lambda index: np.count_nonzero(self.masks[index]))

    def tapers(self, run: Run) -> bool:
        """Whether the structure is expected to taper along a run: from an annotation to its end, away from the largest one."""
        start, slices = run
        outward = bool(slices) and (slices[0] - start) * (start - self.largest) > 0
        return outward and not self.between.intersection(slices)

    def pairs(self) -> list[tuple[int, int]]:
        """(source, target) of every step and of its way back, nearest to the annotated slices first."""
        steps = []
        for start, run in self.runs:
            for number, (source, target) in enumerate(zip((start, *run), run)):
                steps.append((number, source, target))
        return [pair for _, a, b in sorted(steps) for pair in ((a, b), (b, a))]
