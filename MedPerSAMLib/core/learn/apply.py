"""Apply a learned part to a volume without any annotation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from MedPerSAMLib.core.learn.fitted import Fitted
from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.core.sam.predictor import Predictor
from MedPerSAMLib.core.task import Propagation, Volume


@dataclass(frozen=True)
class SlicePoints:
    """Point prompts of one class on one slice.

    Attributes:
        places: (N, 2) float, (row, column) in slice pixels, pixel centres at .5.
        labels: (N,) int, 1 inside, 0 outside.
    """

    places: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Applied:
    """The structures of a volume.

    Attributes:
        results: class 1..C -> its Propagation; every slice is finished.
        points: (class, slice) -> the learned points; empty for methods without prompts, and where a class is absent.
    """

    results: Mapping[int, Propagation]
    points: Mapping[tuple[int, int], SlicePoints] = field(default_factory=dict)


def apply(
    fitted: Fitted,
    predictor: Predictor | None,
    volume: Volume,
    progress: Progress,
    on_slice: Callable[[int, int, np.ndarray, float], None] = lambda number, index, mask, confidence: None,
    moved: Mapping[tuple[int, int], SlicePoints] | None = None,
) -> Applied:
    """SKELETON - being written.

    ``on_slice(class, slice, (rows, columns) bool mask, confidence)`` is called as slices finish; masks may still change.
    ``moved`` are points that the user moved: these slices are prompted with them instead of the learned ones.
    """
    raise NotImplementedError
