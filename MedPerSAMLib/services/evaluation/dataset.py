"""Labelled data on disk: ``<data>/<set>/<case>/{image,label}.{nii.gz|png}`` with a label table ``labels.json``.

A set of ``.nii.gz`` files holds volumes, a set of ``.png`` files holds 2D images. The label table lies in the set's
folder, or in each case's where cases differ.
"""

from __future__ import annotations

import difflib
import functools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MedPerSAMLib.core.task import Volume
from MedPerSAMLib.errors import InputError

VOLUME_SUFFIX, IMAGE_SUFFIX = ".nii.gz", ".png"

NOMINAL_SPACING = {"acdc": "re-uploaded as arrays; the header's 1.5 x 1.5 x 10 mm is a placeholder"}
"""Volume sets whose header does not hold the scanner's spacing: nothing in millimetres is reported for them."""

AUTOMATIC_LABELS = {"totalseg_auto": "labels written by a network, not by an expert"}
"""Sets for smoke tests only: never in a default run, measured where they are named."""

_FRAME_OF_PATIENT = re.compile(r"_frame\d+$")


@dataclass(frozen=True)
class Case:
    """One labelled volume or image.

    Attributes:
        set_name: the set it belongs to.
        folder: where ``image`` and ``label`` lie; its name is the case's name.
        suffix: ".nii.gz" or ".png".
    """

    set_name: str
    folder: Path
    suffix: str

    @property
    def name(self) -> str:
        """The case's folder name."""
        return self.folder.name

    @property
    def patient(self) -> str:
        """Who is imaged: cases that differ only in a trailing ``_frame<n>`` show one patient."""
        return _FRAME_OF_PATIENT.sub("", self.name)

    @functools.cached_property
    def labels(self) -> dict[int, str]:
        """Label value -> name, from the case's or else the set's ``labels.json``."""
        for path in (self.folder / "labels.json", self.folder.parent / "labels.json"):
            if path.is_file():
                return _read_label_table(path)
        raise InputError(f'{self.folder.parent} has no labels.json; write one such as {{"1": "liver"}} there.')

    def read_volume(self) -> tuple[Volume, np.ndarray]:
        """The volume, and its label values (slices, rows, columns) int on the same grid; slices are axial (k)."""
        image, spacing = self._read("image")
        label, label_spacing = self._read("label")
        if image.ndim != 3:
            raise InputError(f"{self._path('image')} has {image.ndim} dimensions; a volume has three.")
        if image.shape != label.shape or not np.allclose(spacing, label_spacing, rtol=1e-3):
            raise InputError(
                f"{self.folder}: image {image.shape} at {spacing} mm and label {label.shape} at {label_spacing} mm "
                "are on different grids; resample the label onto the image."
            )
        return Volume(image.astype(np.float32), spacing), label

    def read_image(self) -> tuple[np.ndarray, np.ndarray]:
        """The image (rows, columns) or (rows, columns, 3) float32, and its label values (rows, columns) int."""
        image, _ = self._read("image")
        label, _ = self._read("label")
        if image.shape[:2] != label.shape:
            raise InputError(
                f"{self.folder}: image {image.shape} and label {label.shape} differ in size; resize the label."
            )
        return image.astype(np.float32), label

    def _path(self, stem: str) -> Path:
        return self.folder / f"{stem}{self.suffix}"

    def _read(self, stem: str) -> tuple[np.ndarray, tuple[float, ...]]:
        import SimpleITK as sitk

        from MedPerSAMLib.services.images.volume_file import read_image

        image = read_image(self._path(stem))
        return sitk.GetArrayFromImage(image), tuple(image.GetSpacing()[::-1])


@dataclass(frozen=True)
class LabelledSet:
    """The cases of one set, in name order.

    Attributes:
        name: the set's folder name.
        cases: at least one, in name order, all volumes or all images.
    """

    name: str
    cases: tuple[Case, ...]

    @property
    def is_volumes(self) -> bool:
        """Whether the cases are volumes; else they are 2D images."""
        return self.cases[0].suffix == VOLUME_SUFFIX

    @property
    def has_spacing(self) -> bool:
        """Whether millimetres mean something: volumes whose spacing is not nominal."""
        return self.is_volumes and self.name not in NOMINAL_SPACING

    @property
    def is_expert(self) -> bool:
        """Whether people drew the labels."""
        return self.name not in AUTOMATIC_LABELS

    def first(self, count: int) -> LabelledSet:
        """The first ``count`` cases in name order."""
        return LabelledSet(self.name, self.cases[:count])

    def case(self, name: str) -> Case:
        """The case called ``name``."""
        return next(case for case in self.cases if case.name == name)


@dataclass(frozen=True)
class Dataset:
    """A folder of labelled sets, in name order."""

    folder: Path
    sets: tuple[LabelledSet, ...]

    @classmethod
    def open(cls, folder: str | Path) -> Dataset:
        """Find the sets below ``folder``; images are read later.

        Raises:
            InputError: no such folder, or no set in it.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise InputError(f"There is no folder {folder}; give the folder that holds the labelled sets.")
        if _cases(folder):
            raise InputError(
                f"{folder} is a single set; give its parent {folder.resolve().parent} and --sets {folder.name}."
            )
        sets = [LabelledSet(path.name, cases) for path in sorted(folder.iterdir()) if (cases := _cases(path))]
        if not sets:
            raise InputError(
                f"{folder} holds no labelled set; expected <set>/<case>/image{VOLUME_SUFFIX} and label{VOLUME_SUFFIX} "
                f"(or {IMAGE_SUFFIX}) in it."
            )
        return cls(folder, tuple(sets))

    def select(self, names: Sequence[str]) -> list[LabelledSet]:
        """The sets called ``names``, in that order.

        Raises:
            InputError: a set does not exist; the nearest names are given.
        """
        by_name = {labelled.name: labelled for labelled in self.sets}
        for name in names:
            if name not in by_name:
                near = difflib.get_close_matches(name, by_name, n=2, cutoff=0.4) or sorted(by_name)
                raise InputError(f"There is no set {name!r} in {self.folder}; did you mean {' or '.join(near)}?")
        return [by_name[name] for name in names]


def _cases(folder: Path) -> tuple[Case, ...]:
    if not folder.is_dir():
        return ()
    for suffix in (VOLUME_SUFFIX, IMAGE_SUFFIX):
        found = sorted(
            path.parent for path in folder.glob(f"*/image{suffix}") if path.with_name(f"label{suffix}").is_file()
        )
        if found:
            return tuple(Case(folder.name, path, suffix) for path in found)
    return ()


def _read_label_table(path: Path) -> dict[int, str]:
    try:
        return {int(value): str(name) for value, name in json.loads(path.read_text(encoding="utf-8")).items()}
    except (ValueError, AttributeError) as error:
        raise InputError(
            f'{path} is not a table of label values and names such as {{"1": "liver"}}; correct it.'
        ) from error
