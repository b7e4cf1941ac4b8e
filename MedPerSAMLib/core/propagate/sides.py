"""The two sides of a structure's largest annotation: each learns from that and from its own other annotations, and is kept.

A correction teaches much about the slices between it and the largest annotation, and nothing about those beyond the latter:
there, learning from a correction at the other end of the structure changed the result for the worse as often as for the
better. So a side without a new annotation keeps the very result that it had, and need not be followed again.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field

import numpy as np

from MedPerSAMLib.core.digest import digest
from MedPerSAMLib.core.propagate.chain import Chain, ChainParts
from MedPerSAMLib.core.propagate.layout import Layout, Run

_MOST_KEPT = 16
"""Sides that a session remembers; the masks of one take up to ten megabytes."""

Make = Callable[[Mapping[int, np.ndarray]], ChainParts]
"""Annotated slice -> (rows, columns) bool on the working grid, of one side; gives what chains there work with."""


@dataclass
class Side:
    """One side, or both where they have the same annotations.

    Attributes:
        parts: what its chains work with.
        chains: those that came to their end.
    """

    parts: ChainParts
    chains: dict[Run, Chain] = field(default_factory=dict)


class Sides:
    """What the chains of a structure work with.

    Args:
        layout: its annotated slices, and who visits which slices.
        make: learns the parts of a side.
        kept: sides that earlier runs on the same volume have made; new ones are added, so that a correction finds its first
            run's. None forgets them.
        key: of everything besides the annotations that the parts depend on.
    """

    def __init__(
        self,
        layout: Layout,
        make: Make,
        kept: dict[Hashable, Side] | None = None,
        key: Hashable = None,
    ) -> None:
        kept = {} if kept is None else kept
        self._largest = layout.largest
        self._sides = {}
        for direction in (-1, 1):
            known = {i: mask for i, mask in layout.masks.items() if (i - self._largest) * direction >= 0}
            full_key = (key, self._largest, *((i, digest(known[i])) for i in sorted(known)))
            # Taken out and put back, so that the oldest is the first.
            side = kept.pop(full_key, None) or Side(make(known))
            self._sides[direction] = kept[full_key] = side
            while len(kept) > _MOST_KEPT:
                del kept[next(iter(kept))]

    def of(self, run: Run) -> Side:
        """The side on which a run lies."""
        start, slices = run
        return self._sides[-1 if min((start, *slices)) < self._largest else 1]
