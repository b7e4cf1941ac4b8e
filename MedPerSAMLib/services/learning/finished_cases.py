"""Finished cases from files: volumes with all their structures, checked to be labelled alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from MedPerSAMLib.core.learn.labelled import LabelledVolume
from MedPerSAMLib.errors import InputError
from MedPerSAMLib.services.images.label_file import LabelFile, read_labels
from MedPerSAMLib.services.images.structure import Structure
from MedPerSAMLib.services.images.volume_file import VolumeFile, read_volume
from MedPerSAMLib.services.learning.pairs import short_names
from MedPerSAMLib.services.learning.profile import Label

AXES = ("axial", "coronal", "sagittal")
"""Planes of slices, in the order of a profile's ``axis``."""


@dataclass(frozen=True)
class FinishedCases:
    """What a fit learns from.

    Attributes:
        training: at least one.
        validation: possibly none.
        labels: the structures, in the order of the label values 1..C of the cases.
        directions: the patient directions that rows and columns of all cases run towards, such as "PL".
        notes: sentences for the user.
    """

    training: tuple[LabelledVolume, ...]
    validation: tuple[LabelledVolume, ...]
    labels: tuple[Label, ...]
    directions: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Read:
    """One pair as it was read."""

    name: str
    volume: VolumeFile
    labels: LabelFile

    @property
    def names(self) -> list[str]:
        return [structure.name for structure in self.labels.structures]

    def directions(self, plane: str) -> str:
        """The patient directions that rows and columns of the slices in a plane run towards."""
        return self.volume.grid.along(self.volume.grid.axis_of(plane)).directions


def read_cases(
    training: Sequence[tuple[Path, Path]], validation: Sequence[tuple[Path, Path]], plane: str = AXES[0]
) -> FinishedCases:
    """Read pairs of a volume and its labels; names and colours are those of the first pair.

    Args:
        training: (volume, labels), at least one.
        validation: the same, possibly none.
        plane: one of AXES, in which slices are taken.

    Raises:
        InputError: a file cannot be read, labels lie on another grid than their volume or have other names than those
            of the first pair, slices show the patient another way up than the first pair's, a volume has no label or nothing
            but one, or no training case holds a structure.
    """
    pairs = [*training, *validation]
    names = short_names([volume for volume, _ in pairs])
    read = [_read(name, *pair) for name, pair in zip(names, pairs)]
    for other in read[1:]:
        _check_alike(read[0], other)
    directions = read[0].directions(plane)
    for other in read[1:]:
        check_directions(other.name, other.directions(plane), read[0].name, directions)
    structures = read[0].labels.structures
    for structure in structures:
        if not any(structure.name in _filled_names(case) for case in read[: len(training)]):
            raise InputError(
                f"{structure.name} has no voxel in any training case; outline it in one, or remove it from all."
            )
    notes: list[str] = []
    labelled = [_labelled(case, [structure.name for structure in structures], plane, notes) for case in read]
    labels = tuple(Label(structure.name, structure.colour, structure.value) for structure in structures)
    cases = tuple(labelled[: len(training)]), tuple(labelled[len(training) :])
    return FinishedCases(*cases, labels, directions, tuple(notes))


def check_directions(name: str, directions: str, other: str, wanted: str) -> None:
    """Raise InputError unless a volume's rows and columns run towards the same sides of the patient as another's."""
    if directions != wanted:
        raise InputError(
            f"Rows and columns of {name} run towards {directions}, those of {other} towards {wanted}; bring it into that "
            "direction with SimpleITK.DICOMOrient, or in Slicer with the module Orient Scalar Volume."
        )


def _read(name: str, volume_path: Path, labels_path: Path) -> _Read:
    volume = read_volume(volume_path)
    case = _Read(name, volume, read_labels(labels_path, volume.grid))
    if not case.labels.masks:
        raise InputError(f"{labels_path} has no labelled voxel; give a finished case, or leave {volume_path} out.")
    for structure in case.names:
        if case.names.count(structure) > 1:
            raise InputError(f"{labels_path} has several structures called {structure!r}; rename or join them.")
    only = next(iter(case.labels.masks.values()))
    if len(case.labels.masks) == 1 and only.all():
        raise InputError(
            f"The only label of {labels_path}, {case.labels.filled[0].name}, covers every voxel, so there is no "
            "background to tell it from; outline the structure alone."
        )
    return case


def _check_alike(first: _Read, other: _Read) -> None:
    """Both have structures of the same names."""
    missing = [name for name in first.names if name not in other.names]
    more = [name for name in other.names if name not in first.names]
    if not (missing or more):
        return
    found = [f"no {', '.join(missing)}"] * bool(missing) + [f"also {', '.join(more)}"] * bool(more)
    raise InputError(
        f"The labels of {other.name} differ from those of {first.name} ({', '.join(first.names)}): it has "
        f"{' and '.join(found)}; label the same structures under the same names in every case."
    )


def _filled_names(case: _Read) -> set[str]:
    return {structure.name for structure in case.labels.filled}


def _labelled(case: _Read, names: Sequence[str], plane: str, notes: list[str]) -> LabelledVolume:
    """The case with label values 1..C in the order of ``names``."""
    axis = case.volume.grid.axis_of(plane)
    volume, geometry = case.volume.along(axis)
    values = np.zeros(case.volume.array.shape, np.min_scalar_type(len(names)))
    in_order = sorted(case.labels.filled, key=lambda structure: names.index(structure.name))
    for structure in in_order:
        values[case.labels.masks[structure.value]] = names.index(structure.name) + 1
    notes.extend(case.volume.notes)
    notes.extend(_overlaps(case.name, in_order, case.labels))
    return LabelledVolume(volume, np.ascontiguousarray(geometry.to_slices(values)), case.name)


def _overlaps(name: str, structures: Sequence[Structure], labels: LabelFile) -> list[str]:
    """A sentence for each two structures that share voxels."""
    found = []
    for first, second in combinations(structures, 2):
        shared = np.count_nonzero(labels.masks[first.value] & labels.masks[second.value])
        if shared:
            found.append(
                f"{name}: {first.name} and {second.name} overlap on {shared} voxels, which count as {second.name}."
            )
    return found
