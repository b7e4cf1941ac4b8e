"""Protocol ``volume``: one annotated slice in, the whole volume out, scored on all other slices at once."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import ClassVar

import numpy as np

from MedPerSAMLib.core.task import Propagation, Reference
from MedPerSAMLib.errors import InputError, ModelError
from MedPerSAMLib.services.combine import exclusive
from MedPerSAMLib.services.evaluation import metrics
from MedPerSAMLib.services.evaluation.dataset import Dataset, LabelledSet
from MedPerSAMLib.services.evaluation.protocol import Protocol, check_volumes, expert_volume_sets
from MedPerSAMLib.services.evaluation.records import Record, unique
from MedPerSAMLib.services.evaluation.structures import Structure, structures
from MedPerSAMLib.services.evaluation.variants import Variant
from MedPerSAMLib.services.evaluation.workbench import Workbench

Run = tuple[Structure, Propagation, float]
"""A structure, what a method made of it, and the seconds that it took."""


class VolumeProtocol(Protocol):
    """For each volume and structure the axial slice with the largest area is the reference."""

    summary = "one annotated slice to the whole volume"
    capability = "propagate"
    columns: ClassVar = {
        "dice": "Dice",
        "nsd_2mm": "NSD 2mm",
        "hd95_mm": "HD95 mm",
        "seconds_per_slice": "s/slice",
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
            wanted = structures(label, bench.wanted(case.labels))
            runs = _runs(variant, session, wanted, (labelled.name, item, variant.name), bench)
            for structure, result, seconds in _sharing(list(runs)) if bench.options.together else runs:
                values, details = score(result, structure, [structure.reference], spacing)
                values["seconds_per_slice"] = seconds / len(label)
                details["seconds"] = seconds
                yield Record(labelled.name, item, structure.name, variant.name, values, details)

    def extras(self, records: Sequence[Record]) -> dict[str, object]:
        return propagation_extras(records)


def propagation_extras(records: Sequence[Record]) -> dict[str, object]:
    """Of records with the details of :func:`score`: how well the confidence tells good slices from bad, and what was
    found beyond the structures' ends."""
    methods = unique(record.method for record in records)
    sets = unique(record.set_name for record in records)
    own = {method: [record for record in records if record.method == method] for method in methods}
    return {
        "confidence_spearman": {method: confidence_correlation(own[method]) for method in methods},
        "confidence_spearman_per_set": {
            name: {m: confidence_correlation([r for r in own[m] if r.set_name == name]) for m in methods}
            for name in sets
        },
        "false_continuation": {
            method: float(np.median([record.details["false_continuation"] for record in own[method]]))
            for method in methods
        },
    }


def propagate(
    method: object, session: object, structure: Structure, references: Sequence[int], bench: Workbench
) -> Propagation:
    """Run a method on a structure of which the true masks of ``references`` are given.

    A method that refuses the case gets the references alone as its result, with a note that says why.
    """
    reference = _reference(structure, references)
    try:
        return method.propagate(session, reference, bench.progress, None)
    except (InputError, ModelError) as error:
        # A method that gives up on a case has found nothing there: leaving the case out would flatter it.
        nothing = np.zeros(structure.truth.shape, bool)
        for index, mask in reference.masks.items():
            nothing[index] = mask
        nowhere = np.zeros(len(nothing), bool)
        return Propagation(nothing, nowhere.astype(np.float32), nowhere, ~nowhere, (f"failed: {error}",))


def _runs(
    variant: Variant, session: object, wanted: Iterable[Structure], subject: Sequence[str], bench: Workbench
) -> Iterator[Run]:
    """Run a method on one structure after the other, telling what of ``subject`` is worked on."""
    for structure in wanted:
        bench.announce(*subject, structure.name)
        start = time.perf_counter()
        result = propagate(variant.create(), session, structure, [structure.reference], bench)
        yield structure, result, time.perf_counter() - start


def _sharing(runs: Sequence[Run]) -> list[Run]:
    """The same runs with the voxels that several structures claim left to one of them."""
    references = {structure.name: _reference(structure, [structure.reference]) for structure, _, _ in runs}
    found = exclusive({structure.name: result for structure, result, _ in runs}, references)
    return [(structure, found[structure.name], seconds) for structure, _, seconds in runs]


def _reference(structure: Structure, slices: Sequence[int]) -> Reference:
    """A structure as it would be annotated on these slices."""
    return Reference({index: structure.truth[index] for index in slices}, structure.name)


def score(
    result: Propagation, structure: Structure, references: Collection[int], spacing: tuple[float, float, float] | None
) -> tuple[dict[str, float | None], dict[str, object]]:
    """Score a propagation on all slices but the references at once.

    Args:
        result: of the method.
        structure: with the truth.
        references: slices that were given, not scored.
        spacing: millimetres along (slices, rows, columns); None where unknown, then nothing in millimetres is given.

    Returns:
        values for the means (dice, nsd_2mm, hd95_mm) and details (reference slices, false continuation, per-slice Dice
        and confidence of the slices where the truth or the prediction is not empty, the method's notes).
    """
    other = np.ones(len(structure.truth), bool)
    other[list(references)] = False
    prediction, truth = result.mask[other], structure.truth[other]
    values: dict[str, float | None] = {"dice": metrics.dice(prediction, truth), "nsd_2mm": None, "hd95_mm": None}
    if spacing is not None:
        surface = metrics.surface_agreement(result.mask, structure.truth, spacing, skip=references)
        values |= {"nsd_2mm": surface.nsd, "hd95_mm": surface.hd95}
    per_slice = metrics.slice_dice(result.mask, structure.truth)
    scored = np.flatnonzero(other & ~np.isnan(per_slice))
    notes = list(result.notes)
    if any((result.mask[index] != structure.truth[index]).any() for index in references):
        notes.append("the annotated slices were not kept as annotated")
    details = {
        "references": list(references),
        "false_continuation": metrics.false_continuation(prediction, truth),
        "slices": scored.tolist(),
        "slice_dice": per_slice[scored].tolist(),
        "slice_confidence": np.asarray(result.confidence, float)[scored].tolist(),
        "notes": notes,
    }
    return values, details


def confidence_correlation(records: Sequence[Record]) -> float | None:
    """Spearman's correlation of confidence and true Dice over the slices of all records.

    Slices where neither truth nor prediction has the structure have no Dice and do not count; references neither.
    """
    pooled = {
        key: np.array([value for record in records for value in record.details[key]])
        for key in ("slice_confidence", "slice_dice")
    }
    return metrics.spearman(pooled["slice_confidence"], pooled["slice_dice"])
