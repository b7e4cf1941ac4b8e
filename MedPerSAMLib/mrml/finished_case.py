"""Finished cases as a fit needs them: read from the scene on the main thread, made into label arrays in the
background."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import slicer

from MedPerSAMLib.errors import InputError
from MedPerSAMLib.mrml.geometry import axis_of_plane, in_plane_directions, plane_of_axis, spacing_across, spacing_of
from MedPerSAMLib.mrml.segment_reader import read_box, segment_of
from MedPerSAMLib.mrml.slice_record import Record
from MedPerSAMLib.mrml.volume_reader import slices_first, voxels
from MedPerSAMLib.services.learning.finished_cases import AXES
from MedPerSAMLib.services.learning.profile import Label

if TYPE_CHECKING:
    from MedPerSAMLib.core.learn.labelled import LabelledVolume

Box = tuple[np.ndarray, tuple[int, int, int]]
"""(k, j, i) bool of a part of the volume, and the part's first (k, j, i)."""


@dataclass(frozen=True)
class TrainingPair:
    """A volume with its finished segmentation.

    Attributes:
        volume: the grey volume.
        segmentation: every structure is outlined in it on every slice that holds it.
    """

    volume: slicer.vtkMRMLScalarVolumeNode
    segmentation: slicer.vtkMRMLSegmentationNode


@dataclass(frozen=True)
class FinishedCase:
    """What was read of a pair.

    Attributes:
        name: of the volume.
        array: (k, j, i) voxels.
        spacing: millimetres per step along k, j, i.
        axes: array axis of the axial, the coronal and the sagittal slices.
        directions: patient directions of rows and columns in each of these.
        labels: the structures, in the order of the segments.
        boxes: structure's name -> its voxels on the volume's grid; structures without any are left out.
        plane: place in ``AXES`` of the slices that a propagation wrote; None where none did.
    """

    name: str
    array: np.ndarray
    spacing: tuple[float, float, float]
    axes: tuple[int, ...]
    directions: tuple[str, ...]
    labels: tuple[Label, ...]
    boxes: Mapping[str, Box]
    plane: int | None

    def labelled(self, names: Sequence[str], plane: int) -> LabelledVolume:
        """The case with its slices in a plane; where structures overlap, the later one counts. Any thread.

        Raises:
            InputError: the volume holds values that are no numbers.
        """
        from MedPerSAMLib.core.learn.labelled import LabelledVolume
        from MedPerSAMLib.core.task import Volume

        values, axis = np.zeros(self.array.shape, np.uint8), self.axes[plane]
        for number, name in enumerate(names, start=1):
            if name in self.boxes:
                part, first = self.boxes[name]
                values[tuple(slice(f, f + n) for f, n in zip(first, part.shape))][part] = number
        spacing = spacing_across(self.spacing, axis)
        array = np.ascontiguousarray(slices_first(self.array, axis), np.float32)
        return LabelledVolume(Volume(array, spacing), np.ascontiguousarray(slices_first(values, axis)), self.name)


def read_case(pair: TrainingPair) -> FinishedCase:
    """Read a pair; segments on another grid are brought onto the volume's.

    Raises:
        InputError: no image, no segments, two of one name, nothing outlined, one slice only, or a transform between
            the nodes that is not linear.
    """
    volume, segmentation = pair.volume, pair.segmentation
    array, labels = voxels(volume), labels_of(segmentation)
    content, where = segmentation.GetSegmentation(), f"{segmentation.GetName()} of {volume.GetName()}"
    boxes: dict[str, Box] = {}
    axes: set[int] = set()
    for number, label in enumerate(labels):
        segment_id = content.GetNthSegmentID(number)
        box = read_box(segmentation, segment_id, volume)
        if box is not None:
            boxes[label.name] = box
            record = Record.of(content.GetSegment(segment_id))
            axes |= set() if record is None else {record.axis}
    if not boxes:
        raise InputError(f"{where} is empty there; outline its structures first, or remove the case.")
    drawn = axes.pop() if len(axes) == 1 else None
    thick = 0 if drawn is None else drawn
    if array.shape[thick] > 1 and all(part.shape[thick] == 1 for part, _ in boxes.values()):
        raise InputError(f"{where} is outlined on one slice only; propagate it through the volume first, then add it.")
    if len(labels) == 1 and next(iter(boxes.values()))[0].sum() == array.size:
        raise InputError(f"The only segment of {where} covers every voxel; outline the structure alone.")
    of_planes = tuple(axis_of_plane(volume, name) for name in AXES)
    return FinishedCase(
        volume.GetName(),
        array,
        spacing_of(volume),
        of_planes,
        tuple(in_plane_directions(volume, axis) for axis in of_planes),
        labels,
        boxes,
        None if drawn is None else AXES.index(plane_of_axis(volume, drawn)),
    )


def labels_of(segmentation: slicer.vtkMRMLSegmentationNode) -> tuple[Label, ...]:
    """The structures of a segmentation: names and colours of its segments.

    Raises:
        InputError: it has no segment, two of one name, or holds no labelmaps.
    """
    content = segmentation.GetSegmentation()
    ids = [content.GetNthSegmentID(i) for i in range(content.GetNumberOfSegments())]
    if not ids:
        raise InputError(f"{segmentation.GetName()} has no segment; outline the structures in Segment Editor first.")
    segments = [segment_of(segmentation, segment_id) for segment_id in ids]
    names = [segment.GetName() for segment in segments]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{segmentation.GetName()} has two segments called {twice!r}; rename or remove one.")
    return tuple(Label(segment.GetName(), tuple(segment.GetColor())) for segment in segments)


def check_alike(cases: Sequence[FinishedCase], plane: int) -> None:
    """Raise InputError unless all cases have the structures of the first, show the patient the same way up in their
    slices, and no structure is empty in all of them."""
    first = cases[0]
    wanted = {label.name for label in first.labels}
    for case in cases[1:]:
        names = {label.name for label in case.labels}
        if names != wanted:
            raise InputError(
                f"The segments of {case.name} are called {_listed(names)}, those of {first.name} {_listed(wanted)}; "
                "give all cases the same names."
            )
        if case.directions[plane] != first.directions[plane]:
            raise InputError(
                f"Rows and columns of {case.name} run towards {case.directions[plane]}, those of {first.name} towards "
                f"{first.directions[plane]}; bring both into one direction with the module Orient Scalar Volume."
            )
    empty = [label.name for label in first.labels if not any(label.name in case.boxes for case in cases)]
    if empty:
        raise InputError(f"{_listed(empty)} is outlined in none of the cases; outline it, or remove its segment.")


def _listed(names) -> str:
    return ", ".join(sorted(names))
