"""How two chains share the slices between their annotated slices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from MedPerSAMLib.core.overlap import dice
from MedPerSAMLib.core.propagate.chain import Link


@dataclass(frozen=True)
class MeetingSettings:
    """How far each of two chains counts between their annotated slices, and what is made of both [V].

    A chain's errors add up, and where it arrives at the other annotation they are known; and one that starts from a
    structure's tip is too small for many slices, because it cannot grow as fast as a structure that it enters there.

    Attributes:
        size: a chain counts by this power of its annotation's radius, relative to the largest's,
        growth: and inversely to its error, which grows with this power of the part of the way that it has come,
        least_error: from this on, in 1 - Dice.
        drift: where a chain arrives at the other annotation, its error there is taken back from its outlines, in the
            part of the way that they had come, to this power; infinity takes nothing back.
        most_drift: bound of what is taken back, working pixels.
        second_look: part by which what SAM and the appearance make of the common outlines replaces them; 0 leaves them as they are.
    """

    size: float = 2.0
    growth: float = 2.0
    least_error: float = 0.02
    drift: float = 3.0
    most_drift: float = 8.0
    second_look: float = 0.5


def arrival_error(arrival: Link | None, annotated: Mapping[int, np.ndarray]) -> float:
    """1 - Dice of a chain and the annotation that it arrives at; 1 where it does not arrive."""
    return 1.0 if arrival is None else 1.0 - dice(arrival.mask, annotated[arrival.index])


def chain_share(size: float, error: float, way: float, settings: MeetingSettings) -> float:
    """How far a chain counts on a slice between two annotated ones.

    Args:
        size: radius of its annotation relative to the largest's, 0..1.
        error: at its arrival, 0..1.
        way: part of the way to the other annotation that it has come, 0..1.
        settings: how these count.
    """
    return size**settings.size / (settings.least_error + error * way**settings.growth)
