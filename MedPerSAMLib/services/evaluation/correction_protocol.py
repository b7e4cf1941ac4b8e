"""Protocol ``correction``: what a second annotated slice, the worst of the first result, is worth."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np

from MedPerSAMLib.core.task import MINIMUM_REFERENCE_PIXELS
from MedPerSAMLib.services.evaluation import metrics
from MedPerSAMLib.services.evaluation.dataset import Dataset, LabelledSet
from MedPerSAMLib.services.evaluation.protocol import Protocol, check_volumes, expert_volume_sets
from MedPerSAMLib.services.evaluation.records import Record, mean_or_none, unique
from MedPerSAMLib.services.evaluation.structures import Structure, structures
from MedPerSAMLib.services.evaluation.volume_protocol import confidence_correlation, propagate, score
from MedPerSAMLib.services.evaluation.workbench import Workbench

WEAK_DICE = 0.90
"""A first result below this leaves something to correct; the gain is reported for those apart."""

GAINS = {"second_minus_first": "2nd - 1st", "gain": "gain", "gain_volume": "volume"}
"""Difference that a second reference makes -> the title of its column."""


def _below(gain: str) -> str:
    """The name of a gain where the first result was weak."""
    return f"{gain}_below_{WEAK_DICE:.2f}"


class CorrectionProtocol(Protocol):
    """As protocol ``volume``, then the worst slice by true Dice becomes a second reference.

    Figures of the JSON: ``dice_first`` is protocol ``volume``'s Dice. ``dice`` is the second result's on the slices
    that are neither reference, and ``second_minus_first`` their difference. ``gain`` is the second result's Dice minus
    the first's, both on the slices that are neither reference: to leave the worst slice out is a gain by itself. ``gain_volume``
    is what the user gets: Dice on protocol ``volume``'s own slices, of which the corrected one is now as it was drawn, minus
    ``dice_first``. All three differences are given apart (``..._below_0.90``) for results that leave something to correct.
    """

    summary = "the gain of a second annotated slice where the first result is worst"
    capability = "propagate"
    columns: ClassVar = {
        "dice_first": "first",
        "dice": "second",
        **{
            key: title
            for name, words in GAINS.items()
            for key, title in ((name, words), (_below(name), f"{words}<{WEAK_DICE:.2f}"))
        },
        "time_ratio": "time 2nd/1st",
    }

    def default_sets(self, dataset: Dataset) -> list[LabelledSet]:
        return expert_volume_sets(dataset)

    def check(self, sets: Sequence[LabelledSet]) -> None:
        check_volumes(sets)

    def run_item(self, labelled: LabelledSet, item: str, bench: Workbench) -> Iterator[Record]:
        case = labelled.case(item)
        volume, label = case.read_volume()
        spacing = volume.spacing if labelled.has_spacing else None
        for variant, session in bench.sessions(volume):
            for structure in structures(label, bench.wanted(case.labels)):
                bench.announce(labelled.name, item, variant.name, structure.name)
                start = time.perf_counter()
                first = propagate(variant.create(), session, structure, [structure.reference], bench)
                middle = time.perf_counter()
                references = [structure.reference, worst_slice(first.mask, structure)]
                second = propagate(variant.create(), session, structure, references, bench)
                end = time.perf_counter()
                values, details = score(second, structure, references, spacing)
                same_slices, _ = score(first, structure, references, None)
                as_volume, _ = score(first, structure, references[:1], None)
                corrected, _ = score(second, structure, references[:1], None)
                weak = as_volume["dice"] < WEAK_DICE
                gains = {
                    "second_minus_first": values["dice"] - as_volume["dice"],
                    "gain": values["dice"] - same_slices["dice"],
                    "gain_volume": corrected["dice"] - as_volume["dice"],
                }
                values |= gains | {_below(name): gain if weak else None for name, gain in gains.items()}
                values |= {
                    "dice_first": as_volume["dice"],
                    "seconds_per_slice": (end - middle) / len(label),
                    "time_ratio": (end - middle) / (middle - start),
                }
                details |= {
                    "dice_first_same_slices": same_slices["dice"],
                    "dice_with_corrected_slice": corrected["dice"],
                    "seconds_first": middle - start,
                    "seconds": end - middle,
                    "notes": [*first.notes, *details["notes"]],
                }
                yield Record(labelled.name, item, structure.name, variant.name, values, details)

    def extras(self, records: Sequence[Record]) -> dict[str, object]:
        methods = unique(record.method for record in records)
        own = {method: [record for record in records if record.method == method] for method in methods}
        weak_gains = [_below(name) for name in GAINS]
        # Beside the means over labels and sets: a set without weak results says nothing about their gain.
        return {"confidence_spearman": {method: confidence_correlation(own[method]) for method in methods}} | {
            weak: {
                method: {
                    "mean": mean_or_none(record.values[weak] for record in own[method]),
                    "n": sum(record.values[weak] is not None for record in own[method]),
                }
                for method in methods
            }
            for weak in weak_gains
        }


def worst_slice(mask: np.ndarray, structure: Structure) -> int:
    """The slice with the lowest true Dice that can be annotated; the largest of several that were missed altogether.

    Args:
        mask: (slices, rows, columns) bool, the first result.
        structure: with the truth; it lies on at least one slice beside the reference.
    """
    areas = np.count_nonzero(structure.truth, axis=(1, 2))
    possible = [index for index in np.flatnonzero(areas) if index != structure.reference]
    # An outline of too few pixels is no reference; every structure that is measured has larger slices as well.
    large = [index for index in possible if areas[index] >= MINIMUM_REFERENCE_PIXELS]
    per_slice = metrics.slice_dice(mask, structure.truth)
    return int(min(large, key=lambda index: (per_slice[index], -areas[index])))
