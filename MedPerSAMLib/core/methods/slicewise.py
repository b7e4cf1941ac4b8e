"""What methods that treat slices one by one share: which slices, which annotated slice each follows, the result."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.core.session import ImageSession
from MedPerSAMLib.core.task import Propagation, Reference, Volume
from MedPerSAMLib.errors import InputError


def open_slices(volume: Volume, reference: Reference, slices: range | None) -> list[int]:
    """The slices of the range that are to be segmented: those without an annotation, in order.

    Args:
        volume: the volume.
        reference: the annotated slices; checked against the volume.
        slices: the slices wanted; None for all.

    Raises:
        InputError: the reference does not fit the volume, or the range is empty or leaves the volume.
    """
    reference.check_against(volume)
    count = len(volume.array)
    wanted = range(count) if slices is None else slices
    if not wanted or min(wanted) < 0 or max(wanted) >= count:
        raise InputError(f"The slice range {wanted} does not lie in the volume's 0..{count - 1}; give one that does.")
    return [index for index in sorted(wanted) if index not in reference.masks]


def by_nearest_reference(indices: Iterable[int], annotated: Iterable[int]) -> dict[int, list[int]]:
    """Annotated slice -> the slices of ``indices`` that lie nearest to it, the lower one where two are equally near."""
    groups: dict[int, list[int]] = {index: [] for index in sorted(annotated)}
    for index in indices:
        groups[min(groups, key=lambda reference: (abs(reference - index), reference))].append(index)
    return groups


def distance_confidence(distance_mm: float, mask: np.ndarray, spacing: tuple[float, float], reach: float) -> float:
    """Confidence in 0..1 of a method that has no measure of its own: it falls with the distance from the annotation.

    Args:
        distance_mm: from the annotated slice.
        mask: (rows, columns) bool of the annotated slice, not empty.
        spacing: millimetres per (row, column).
        reach: distance at which it has fallen to 1/e, in units of r = sqrt(area / pi) of the mask: a ball's outline
            changes on the scale of its radius.
    """
    radius_mm = math.sqrt(np.count_nonzero(mask) * spacing[0] * spacing[1] / math.pi)
    return math.exp(-distance_mm / (reach * radius_mm))


def annotated_mask(session: ImageSession) -> np.ndarray:
    """(rows, columns) bool mask of the session's annotated image.

    Raises:
        InputError: the mask is empty or nearly so, or has another shape than the image.
    """
    mask = np.asarray(session.mask, bool)
    if mask.shape != session.image.shape[:2]:
        raise InputError(
            f"The mask is {mask.shape}, the annotated image {session.image.shape[:2]}; give the mask of this image."
        )
    return Reference({0: mask}, "The annotated image's structure").masks[0]


class Collector:
    """Gathers slices one by one into a Propagation and tells the listener about each.

    Args:
        volume: the volume that is segmented.
        reference: its annotated slices, which the result holds exactly as annotated.
        progress: listener; hears of a step and a finished slice for each slice that is added.
        phase: what the work is called for people.
        total: how many slices will be added.
    """

    def __init__(self, volume: Volume, reference: Reference, progress: Progress, phase: str, total: int) -> None:
        count = len(volume.array)
        self._mask = np.zeros(volume.array.shape, bool)
        self._confidence = np.zeros(count, np.float32)
        self._finished = np.zeros(count, bool)
        self._details: dict[str, np.ndarray] = {}
        self._progress, self._phase, self._done, self._total = progress, phase, 0, total
        for index, mask in reference.masks.items():
            self._mask[index], self._confidence[index], self._finished[index] = mask, 1.0, True

    def add(self, index: int, mask: np.ndarray, confidence: float, details: Mapping[str, float] | None = None) -> None:
        """Keep the (rows, columns) mask of slice ``index``, its confidence in 0..1 and figures for reports.

        Raises:
            Cancelled: the user asked for it; the slice has been handed to the listener by then.
        """
        self._mask[index], self._confidence[index], self._finished[index] = mask, confidence, True
        for name, figure in (details or {}).items():
            self._details.setdefault(name, np.full(len(self._mask), np.nan, np.float32))[index] = figure
        self._done += 1
        self._progress.slice_done(index, self._mask[index], float(self._confidence[index]))
        self._progress.step(self._phase, self._done, self._total)

    def result(self, notes: Sequence[str] = ()) -> Propagation:
        """What was gathered; figures are NaN on slices that have none."""
        present = self._mask.any(axis=(1, 2))
        return Propagation(self._mask, self._confidence, present, self._finished, tuple(notes), self._details)
