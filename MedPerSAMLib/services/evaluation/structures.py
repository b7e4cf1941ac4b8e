"""The structures of a labelled volume that the protocols measure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

LEAST_SLICES, LEAST_VOXELS = 4, 200
"""A structure on fewer slices, or of fewer voxels, says nothing about carrying a slice through a volume."""


@dataclass(frozen=True)
class Structure:
    """One structure of a volume.

    Attributes:
        name: from the label table.
        truth: (slices, rows, columns) bool.
        reference: the axial slice with the largest area, the first of them.
    """

    name: str
    truth: np.ndarray
    reference: int


def structures(label: np.ndarray, names: Mapping[int, str]) -> Iterator[Structure]:
    """The structures of (slices, rows, columns) label values that are large enough, in order of their values."""
    for value, name in sorted(names.items()):
        truth = label == value
        areas = np.count_nonzero(truth, axis=(1, 2))
        if np.count_nonzero(areas) >= LEAST_SLICES and areas.sum() >= LEAST_VOXELS:
            yield Structure(name, truth, int(np.argmax(areas)))
