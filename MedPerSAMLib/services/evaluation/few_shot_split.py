"""Which cases of a set are learned from and which are tested: by patients, so that nobody is on both sides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from MedPerSAMLib.core.learn.labelled import LabelledVolume
from MedPerSAMLib.core.task import Volume
from MedPerSAMLib.services.evaluation.dataset import Case, LabelledSet
from MedPerSAMLib.services.evaluation.records import unique


@dataclass(frozen=True)
class Split:
    """The cases of a set, divided.

    Attributes:
        training: all cases of the first patients in name order.
        test: all cases of the others.
    """

    training: tuple[Case, ...]
    test: tuple[Case, ...]

    @classmethod
    def of(cls, labelled: LabelledSet, size: int) -> Split:
        """The first ``size`` patients of a set to learn from, the rest to test on."""
        first = patients(labelled)[:size]
        return cls(
            tuple(case for case in labelled.cases if case.patient in first),
            tuple(case for case in labelled.cases if case.patient not in first),
        )


def patients(labelled: LabelledSet) -> list[str]:
    """Who is imaged in a set, in name order."""
    return unique(case.patient for case in labelled.cases)


@dataclass(frozen=True)
class TrainingCases:
    """What is learned from.

    Attributes:
        volumes: the cases, their label values 1..C.
        names: label value in the files -> name, of the structures that some training case holds, in the order 1..C.
    """

    volumes: tuple[LabelledVolume, ...]
    names: Mapping[int, str]

    @classmethod
    def read(cls, cases: tuple[Case, ...], wanted: Mapping[int, str]) -> TrainingCases:
        """Read the cases; what none of them holds cannot be learned and is left out.

        Args:
            cases: of one set.
            wanted: label value in the files -> name of the structures to learn.
        """
        read = [(case.name, *case.read_volume()) for case in cases]
        held = {int(value) for _, _, label in read for value in np.unique(label)}
        names = {value: name for value, name in sorted(wanted.items()) if value in held}
        volumes = tuple(_labelled(name, volume, label, names) for name, volume, label in read)
        return cls(tuple(case for case in volumes if case is not None), names)


def _labelled(name: str, volume: Volume, label: np.ndarray, names: Mapping[int, str]) -> LabelledVolume | None:
    values = np.zeros(label.shape, np.uint8)
    for number, value in enumerate(names, start=1):
        values[label == value] = number
    return LabelledVolume(volume, values, name) if values.any() else None


def read_tests(cases: tuple[Case, ...]) -> Iterator[tuple[Case, Volume, np.ndarray]]:
    """Each test case with its volume and label values, one at a time."""
    for case in cases:
        yield (case, *case.read_volume())
