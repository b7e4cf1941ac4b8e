"""Protocol ``image``: one annotated 2D image in, other images out."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from MedPerSAMLib.core.task import MINIMUM_REFERENCE_PIXELS, Transfer
from MedPerSAMLib.errors import InputError, ModelError
from MedPerSAMLib.services.evaluation import metrics
from MedPerSAMLib.services.evaluation.dataset import Case, Dataset, LabelledSet
from MedPerSAMLib.services.evaluation.protocol import Protocol
from MedPerSAMLib.services.evaluation.records import NO_SURFACES, Record, unique
from MedPerSAMLib.services.evaluation.workbench import Workbench

SLICE_SETS = ("acdc", "chaos_t2")
"""Sets of volumes that a default run takes slices from, beside the sets of 2D images."""


@dataclass(frozen=True)
class ImagePair:
    """An image with the truth of one structure."""

    name: str
    image: np.ndarray
    truth: np.ndarray


class ImageProtocol(Protocol):
    """The first case in name order is the reference, every other case a target.

    In a set of volumes the reference is the first volume's axial slice with the structure's largest area, and the
    targets are the labelled slices of the other patients.

    Args:
        references: cases that are the reference in turn, evenly spaced in name order from the first on; figures are means over all
            pairs. One reference is a matter of luck: the same method may find half as much from another one.
    """

    summary = "one annotated 2D image to other images"
    capability = "transfer"
    columns: ClassVar = {"dice": "Dice", "seconds_per_slice": "s/image"}

    def __init__(self, references: int = 1) -> None:
        self._references = references

    @classmethod
    def from_arguments(cls, arguments: argparse.Namespace) -> ImageProtocol:
        return cls(arguments.references or 1)

    def default_sets(self, dataset: Dataset) -> list[LabelledSet]:
        return [own for own in dataset.sets if own.is_expert and (not own.is_volumes or own.name in SLICE_SETS)]

    def limit(self, labelled: LabelledSet, cases: int) -> LabelledSet:
        # The reference is a case as well, and in name order a patient's second volume may follow it.
        first = labelled.cases[0].patient
        others = [case for case in labelled.cases if case.patient != first]
        return LabelledSet(labelled.name, (labelled.cases[0], *others[:cases]))

    def items(self, labelled: LabelledSet) -> list[str]:
        """The names of the structures."""
        return unique(name for case in labelled.cases for name in case.labels.values())

    def run_item(self, labelled: LabelledSet, item: str, bench: Workbench) -> Iterator[Record]:
        if bench.options.labels and item not in bench.options.labels:
            return
        for first in self._in_turn(labelled):
            yield from self._from(first, labelled, item, bench)

    def _in_turn(self, labelled: LabelledSet) -> list[Case]:
        """The cases that are the reference, the first one first."""
        count = len(labelled.cases)
        return [labelled.cases[turn * count // self._references] for turn in range(min(count, self._references))]

    def _from(self, first: Case, labelled: LabelledSet, item: str, bench: Workbench) -> Iterator[Record]:
        reference, targets = _pairs(first, labelled, item)
        for variant in bench.options.variants:
            bench.announce(labelled.name, item, variant.name)
            session = bench.image_session(reference.image, reference.truth, [target.image for target in targets])
            start = time.perf_counter()
            results, notes = _transfer(variant.create(), session, targets, bench)
            seconds = (time.perf_counter() - start) / len(targets)
            for target, result in zip(targets, results, strict=True):
                dice = metrics.dice(result.mask, target.truth)
                values = {"dice": dice, **NO_SURFACES, "seconds_per_slice": seconds}
                details = {"reference": reference.name, "confidence": float(result.confidence), "notes": notes}
                yield Record(labelled.name, target.name, item, variant.name, values, details)

    def extras(self, records: Sequence[Record]) -> dict[str, object]:
        methods = unique(record.method for record in records)
        sets = unique(record.set_name for record in records)
        own = {method: [record for record in records if record.method == method] for method in methods}
        return {
            "confidence_spearman": {method: _confidence_correlation(own[method]) for method in methods},
            "confidence_spearman_per_set": {
                name: {m: _confidence_correlation([r for r in own[m] if r.set_name == name]) for m in methods}
                for name in sets
            },
        }


def _pairs(first: Case, labelled: LabelledSet, label: str) -> tuple[ImagePair, list[ImagePair]]:
    """The annotated image, of the case ``first``, and the targets of one structure.

    Raises:
        InputError: the reference case does not show the structure, or there is no target.
    """
    others = [case for case in labelled.cases if case != first]
    if labelled.is_volumes:
        in_reference = _slices(first, label)
        reference = max(in_reference, key=lambda pair: np.count_nonzero(pair.truth), default=None)
        targets = [pair for case in others if case.patient != first.patient for pair in _slices(case, label)]
    else:
        reference = _image(first, label)
        targets = [_image(case, label) for case in others]
    if reference is None or np.count_nonzero(reference.truth) < MINIMUM_REFERENCE_PIXELS:
        raise InputError(
            f"{labelled.name}: the reference case {first.name} shows no {label}; leave it out by --labels."
        )
    if not targets:
        raise InputError(f"{labelled.name} has no second case that {label} could be carried to; add cases.")
    return reference, targets


def _image(case: Case, label: str) -> ImagePair:
    image, values = case.read_image()
    return ImagePair(case.name, image, values == _value(case, label))


def _slices(case: Case, label: str) -> list[ImagePair]:
    volume, values = case.read_volume()
    truth = values == _value(case, label)
    return [ImagePair(f"{case.name}/{k}", volume.array[k], truth[k]) for k in np.flatnonzero(truth.any(axis=(1, 2)))]


def _value(case: Case, label: str) -> int:
    return next((value for value, name in case.labels.items() if name == label), -1)


def _transfer(
    method: object, session: object, targets: Sequence[ImagePair], bench: Workbench
) -> tuple[list[Transfer], list[str]]:
    """The method's results; empty ones, and a note that says why, where it refuses the images."""
    try:
        return method.transfer(session, bench.progress), []
    except (InputError, ModelError) as error:
        # As in protocol volume: a method that gives up has found nothing.
        return [Transfer(np.zeros(target.truth.shape, bool), 0.0) for target in targets], [f"failed: {error}"]


def _confidence_correlation(records: Sequence[Record]) -> float | None:
    confidence = np.array([record.details["confidence"] for record in records])
    return metrics.spearman(confidence, np.array([record.values["dice"] for record in records]))
