"""Which pieces of a found structure count: where every finished case shows one piece, specks elsewhere are mistakes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

_ONE_PIECE = 0.95
"""Share of a structure's voxels that its largest component must hold in every finished case."""

_CONNECTED = np.ones((3, 3, 3))


def one_piece(labels: Sequence[np.ndarray], classes: int) -> list[bool]:
    """For each class 1..C whether it is one piece in all (slices, rows, columns) label volumes that have it."""
    return [
        all(_largest_share(label == number) >= _ONE_PIECE for label in labels if (label == number).any())
        for number in range(1, classes + 1)
    ]


def largest_piece(mask: np.ndarray) -> np.ndarray:
    """The largest component of a (slices, rows, columns) bool mask; components touch by faces, edges or corners."""
    labels, count = ndimage.label(mask, structure=_CONNECTED)
    if count <= 1:
        return mask
    return labels == 1 + int(np.argmax(ndimage.sum_labels(mask, labels, np.arange(1, count + 1))))


def _largest_share(mask: np.ndarray) -> float:
    return np.count_nonzero(largest_piece(mask)) / np.count_nonzero(mask)
