"""The slices and images that protocol ``prompts`` asks the model about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from MedPerSAMLib.core.intensity import normalise_image, normalise_volume
from MedPerSAMLib.services.evaluation.dataset import Case

SLICES_PER_STRUCTURE = 4
LEAST_PIXELS = 30
"""A structure must have this many pixels on the slice that is asked about, and on the next one."""


@dataclass(frozen=True)
class Question:
    """One slice or image and the structure to find on it.

    Attributes:
        case: name of the case.
        label: name of the structure.
        index: of the slice; 0 for a 2D image.
        image: (rows, columns) grey or (rows, columns, 3) colour, 0..1.
        truth: (rows, columns) bool.
        spacing: millimetres per (row, column).
        next_image: the next slice; None for a 2D image.
        next_truth: its truth; None for a 2D image.
    """

    case: str
    label: str
    index: int
    image: np.ndarray
    truth: np.ndarray
    spacing: tuple[float, float] = (1.0, 1.0)
    next_image: np.ndarray | None = None
    next_truth: np.ndarray | None = None


def volume_questions(case: Case, labels: Mapping[int, str]) -> Iterator[list[Question]]:
    """For each structure up to four evenly spaced slices where it has enough pixels there and on the next slice."""
    volume, values = case.read_volume()
    slices = normalise_volume(volume.array)
    for value, name in sorted(labels.items()):
        truth = values == value
        enough = np.count_nonzero(truth, axis=(1, 2)) >= LEAST_PIXELS
        possible = np.flatnonzero(enough[:-1] & enough[1:])
        count = min(SLICES_PER_STRUCTURE, len(possible))
        chosen = possible[np.linspace(0, len(possible) - 1, count).round().astype(int)] if count else []
        yield [
            Question(case.name, name, int(k), slices[k], truth[k], volume.spacing[1:], slices[k + 1], truth[k + 1])
            for k in chosen
        ]


def image_questions(case: Case, labels: Mapping[int, str]) -> Iterator[list[Question]]:
    """For each structure of a 2D image the image itself, where the structure has enough pixels."""
    image, values = case.read_image()
    for value, name in sorted(labels.items()):
        truth = values == value
        yield [Question(case.name, name, 0, normalise_image(image), truth)] if truth.sum() >= LEAST_PIXELS else []
