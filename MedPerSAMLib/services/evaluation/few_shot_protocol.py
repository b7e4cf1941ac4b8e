"""Protocol ``fewshot``: learned on the first cases of a set, tested on all the others without any annotation there."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from MedPerSAMLib.errors import InputError
from MedPerSAMLib.services.evaluation.dataset import Dataset, LabelledSet
from MedPerSAMLib.services.evaluation.few_shot_split import Split, TrainingCases, patients, read_tests
from MedPerSAMLib.services.evaluation.few_shot_variants import CentrePoint, LearnedVariant, choose_few_shot
from MedPerSAMLib.services.evaluation.protocol import Protocol, check_volumes
from MedPerSAMLib.services.evaluation.records import Record
from MedPerSAMLib.services.evaluation.structures import structures
from MedPerSAMLib.services.evaluation.variants import Choice
from MedPerSAMLib.services.evaluation.volume_protocol import propagate, propagation_extras, score
from MedPerSAMLib.services.evaluation.workbench import Workbench

if TYPE_CHECKING:
    from MedPerSAMLib.core.learn.apply import Applied
    from MedPerSAMLib.core.learn.fitted import Fitted

DEFAULT_SETS = ("acdc", "la_mri", "chaos_t2")
DEFAULT_SIZES = (1, 3, 5)


class FewShotProtocol(Protocol):
    """For each training size k: learned on the first k patients of a set in name order, tested on all the others.

    In the JSON a method's name carries k, as in ``autosam-cnn@3``; the test cases differ by k. Scored are the structures
    that protocol ``volume`` would score, over the whole volume. Beside the learned methods stand, on the same test cases:

    - ``med-persam@k`` and other methods that carry one slice: they are given the largest slice of each structure of each
      test case, and scored as in protocol ``volume``, over all other slices;
    - ``centre-point@k``: the frozen model, given the deepest true point on each slice that holds the structure, in the
      window in which the learned methods look, placed by the truth. Slices without the structure stay empty, so it is
      told where a structure begins and ends; this favours it.

    Of methods that make points, ``positives_inside`` is the share of the positive ones that lie inside the structure and
    ``negatives_outside`` that of the negative ones outside it, over the slices where the structure truly is and was found
    (there are no points where it was not found). ``fit_seconds`` are of the whole fit, the same in all its records.

    Args:
        sizes: numbers of patients to learn from.
    """

    summary = "learned on a few finished cases, tested on the others"
    capability = "propagate"
    columns: ClassVar = {
        "dice": "Dice",
        "nsd_2mm": "NSD 2mm",
        "fit_seconds": "fit s",
        "seconds_per_slice": "s/slice",
        "positives_inside": "pos. inside",
        "negatives_outside": "neg. outside",
    }

    def __init__(self, sizes: Sequence[int] = DEFAULT_SIZES) -> None:
        self._sizes = tuple(sorted(set(sizes)))
        self._variants: tuple = ()

    @classmethod
    def from_arguments(cls, arguments: argparse.Namespace) -> FewShotProtocol:
        return cls(arguments.train_sizes or DEFAULT_SIZES)

    def choose(self, names: Sequence[str] | None, ablation: Sequence[str] | None) -> Choice:
        if ablation is not None:
            raise InputError("The protocol 'fewshot' has no ablation; --ablation belongs to 'volume'.")
        choice = choose_few_shot(names)
        self._variants = choice.variants
        return choice

    def default_sets(self, dataset: Dataset) -> list[LabelledSet]:
        return [labelled for labelled in dataset.sets if labelled.name in DEFAULT_SETS]

    def check(self, sets: Sequence[LabelledSet]) -> None:
        check_volumes(sets)
        if not any(self._possible(labelled) for labelled in sets):
            most = max(len(patients(labelled)) for labelled in sets)
            raise InputError(
                f"No chosen set has more than {most} patients, so none is left to test on after a training with "
                f"{self._sizes[0]}; give smaller --train-sizes."
            )

    def notes(self, sets: Sequence[LabelledSet]) -> list[str]:
        """One sentence for each set and training size that leaves no case to test on."""
        return [
            f"{labelled.name} has {len(patients(labelled))} patients, so that none is left to test on after a training with "
            f"{size}; this size is skipped."
            for labelled in sets
            for size in self._sizes
            if size not in self._possible(labelled)
        ]

    def limit(self, labelled: LabelledSet, cases: int) -> LabelledSet:
        """The first patients, with all their cases."""
        first = patients(labelled)[:cases]
        return LabelledSet(labelled.name, tuple(case for case in labelled.cases if case.patient in first))

    def items(self, labelled: LabelledSet) -> list[str]:
        """``method@k`` for what depends on the training cases, and ``method`` for what only its test cases depend on."""
        sizes = self._possible(labelled)
        fitted = [v.name for v in self._variants if isinstance(v, LearnedVariant | CentrePoint)]
        others = [v.name for v in self._variants if not isinstance(v, LearnedVariant | CentrePoint)]
        return [f"{name}@{size}" for size in sizes for name in fitted] + (others if sizes else [])

    def run_item(self, labelled: LabelledSet, item: str, bench: Workbench) -> Iterator[Record]:
        name, at, size = item.rpartition("@")
        variant = next(v for v in bench.options.variants if v.name == (name if at else item))
        if not at:
            yield from self._carry(variant, labelled, bench)
        elif isinstance(variant, CentrePoint):
            yield from _point(item, Split.of(labelled, int(size)), labelled, bench)
        else:
            yield from _learn(item, variant, Split.of(labelled, int(size)), labelled, bench)

    def extras(self, records: Sequence[Record]) -> dict[str, object]:
        return propagation_extras(records)

    def _possible(self, labelled: LabelledSet) -> list[int]:
        """The training sizes that leave a patient to test on."""
        return [size for size in self._sizes if size < len(patients(labelled))]

    def _carry(self, variant, labelled: LabelledSet, bench: Workbench) -> Iterator[Record]:
        """One slice of each structure carried through each test case: once, for every training size that tests on it."""
        splits = {size: Split.of(labelled, size) for size in self._possible(labelled)}
        names: dict[int, dict[int, str]] = {}
        for size, split in splits.items():
            names[size] = TrainingCases.read(split.training, bench.wanted(split.training[0].labels)).names
        for case, volume, label in read_tests(splits[min(splits)].test):
            session = bench.session(volume)
            sizes = [size for size, split in splits.items() if case in split.test]
            for structure in structures(label, bench.wanted(case.labels)):
                learned = [size for size in sizes if structure.name in names[size].values()]
                if not learned:
                    continue
                bench.announce(labelled.name, case.name, variant.name, structure.name)
                began = time.perf_counter()
                result = propagate(variant.create(), session, structure, [structure.reference], bench)
                seconds = time.perf_counter() - began
                spacing = volume.spacing if labelled.has_spacing else None
                values, details = score(result, structure, [structure.reference], spacing)
                values["seconds_per_slice"] = seconds / len(label)
                for size in learned:
                    own = {**details, **_training_details(splits[size])}
                    yield Record(labelled.name, case.name, structure.name, f"{variant.name}@{size}", values, own)


def _learn(
    item: str, variant: LearnedVariant, split: Split, labelled: LabelledSet, bench: Workbench
) -> Iterator[Record]:
    """Fit, and apply to each test case."""
    from MedPerSAMLib.core.learn.apply import apply
    from MedPerSAMLib.core.learn.fit import fit

    training = TrainingCases.read(split.training, bench.wanted(split.training[0].labels))
    predictor = bench.predictor if variant.needs_model else None
    bench.announce(labelled.name, item)
    began = time.perf_counter()
    fitted = fit(
        variant.method,
        predictor,
        training.volumes,
        (),
        len(training.names),
        bench.options.seed,
        bench.progress,
        settings=variant.fit_settings(len(training.volumes) == 1),
    )
    fit_seconds = time.perf_counter() - began
    numbers = {name: number for number, name in enumerate(training.names.values(), start=1)}
    for case, volume, label in read_tests(split.test):
        bench.announce(labelled.name, case.name, item)
        began = time.perf_counter()
        applied = apply(fitted, predictor, volume, bench.progress)
        seconds = time.perf_counter() - began
        spacing = volume.spacing if labelled.has_spacing else None
        for structure in structures(label, training.names):
            number = numbers[structure.name]
            values, details = score(applied.results[number], structure, [], spacing)
            values |= {"fit_seconds": fit_seconds, "seconds_per_slice": seconds / len(label)}
            values |= point_shares(applied, number, structure.truth)
            details |= {**_training_details(split), **_fit_details(fitted)}
            yield Record(labelled.name, case.name, structure.name, item, values, details)


def _point(item: str, split: Split, labelled: LabelledSet, bench: Workbench) -> Iterator[Record]:
    """One true point on each slice of each test case."""
    from MedPerSAMLib.services.evaluation.centre_point import frame_of, segment_by_centres

    training = TrainingCases.read(split.training, bench.wanted(split.training[0].labels))
    for case, volume, label in read_tests(split.test):
        bench.announce(labelled.name, case.name, item)
        found = list(structures(label, training.names))
        truth = np.isin(label, list(training.names))
        if not found:
            continue
        began = time.perf_counter()
        frame = frame_of(training.volumes, volume, truth, bench.predictor.frame_size)
        truths = {structure.name: structure.truth for structure in found}
        results = segment_by_centres(bench.predictor, volume, truths, frame, bench.progress)
        seconds = time.perf_counter() - began
        spacing = volume.spacing if labelled.has_spacing else None
        for structure in found:
            values, details = score(results[structure.name], structure, [], spacing)
            values["seconds_per_slice"] = seconds / len(label)
            details |= _training_details(split)
            yield Record(labelled.name, case.name, structure.name, item, values, details)


def point_shares(applied: Applied, number: int, truth: np.ndarray) -> dict[str, float]:
    """Shares of a class's learned positives inside and negatives outside the structure; empty where there are no points.

    Args:
        applied: what was found.
        number: of the class.
        truth: (slices, rows, columns) bool.
    """
    right: dict[int, list[bool]] = {1: [], 0: []}
    for (own, index), points in applied.points.items():
        if own != number or not truth[index].any():
            continue
        pixels = np.floor(points.places).astype(int)
        within = ((pixels >= 0) & (pixels < truth.shape[1:])).all(axis=1)
        inside = np.zeros(len(pixels), bool)
        inside[within] = truth[index][tuple(pixels[within].T)]
        for label, hit in zip(points.labels, inside):
            right[int(label)].append(bool(hit) == bool(label))
    titles = {1: "positives_inside", 0: "negatives_outside"}
    return {titles[label]: float(np.mean(hits)) for label, hits in right.items() if hits}


def _training_details(split: Split) -> dict[str, object]:
    return {"trained_on": [case.name for case in split.training]}


def _fit_details(fitted: Fitted) -> dict[str, object]:
    best = max(fitted.curve, key=lambda point: point.dice)
    curve = [[point.step, point.loss, point.dice] for point in fitted.curve]
    return {"fit_steps": fitted.steps, "best_step": best.step, "validation_dice": best.dice, "curve": curve}
