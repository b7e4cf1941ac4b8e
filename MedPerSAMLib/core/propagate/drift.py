"""What a chain drifted on its way to another annotated slice: there its error is known, and taken back."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from MedPerSAMLib.core.propagate.chain import Fields, Link
from MedPerSAMLib.core.propagate.step import outline_distance


def drift_corrections(
    fields: Fields,
    arrival: Link | None,
    run: tuple[int, ...],
    annotated: Mapping[int, np.ndarray],
    power: float,
    most: float,
) -> dict[int, np.ndarray]:
    """What to add to the outline distances of a chain that arrives at another annotated slice.

    The annotated outline there, less the chain's, is carried back slice by slice, and counts by the part of the way that
    the chain had come, to a power: nothing at the start, where the chain was right.

    Args:
        fields: carry what is taken back from slice to slice.
        arrival: the chain's result on that slice; None where it arrives nowhere.
        run: the slices that it was to visit.
        annotated: slice -> (rows, columns) bool, non-empty.
        power: of the part of the way.
        most: bound of a correction, pixels.

    Returns:
        slice of the run -> (rows, columns) float32 pixels by which the outline moves outward; nothing for a chain that
        arrives nowhere.
    """
    if arrival is None:
        return {}
    source = arrival.index
    gap = np.clip(outline_distance(annotated[source]) - outline_distance(arrival.mask), -most, most)
    corrections = {}
    for number in range(len(run), 0, -1):
        target = run[number - 1]
        outward, inward = (fields.carry(np.maximum(part, 0), source, target) for part in (gap, -gap))
        gap, source = outward - inward, target
        corrections[target] = (number / (len(run) + 1)) ** power * gap
    return corrections
