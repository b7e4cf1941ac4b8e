"""Which slices of a segment the user drew, and which are ours.

What a propagation wrote is remembered with the segment (``slice_record``). A slice that is still as we left it is ours
and may be written again; any other is the user's: a further reference that is never touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import slicer

from MedPerSAMLib.errors import InputError, NothingDrawn
from MedPerSAMLib.mrml.geometry import OBLIQUE_DEGREES, check_transforms, plane_name
from MedPerSAMLib.mrml.last_looks import LastLooks, state_of
from MedPerSAMLib.mrml.resampled_slices import ResampledSlices
from MedPerSAMLib.mrml.segment_reader import match_grids, read_box, segment_of
from MedPerSAMLib.mrml.shared_grid import used_planes
from MedPerSAMLib.mrml.slice_record import Record

_LOOKS = LastLooks()
_FEW = 0.5
"""Several annotated slices name their axis only if they are at most this share of the slices along any other axis."""


@dataclass(frozen=True)
class Annotation:
    """What was found in a segment.

    Attributes:
        axis: array axis across which its slices are annotated.
        plane: what people call these slices.
        masks: slice index -> (rows, columns) bool, the slices that the user drew or edited.
        propagated: slices that are as we left them.
        cleared: slices that we wrote and the user emptied: the structure is not there.
        count: number of slices across the axis.
        warnings: sentences for the user.
    """

    axis: int
    plane: str
    masks: Mapping[int, np.ndarray]
    propagated: frozenset[int]
    cleared: frozenset[int]
    count: int
    warnings: tuple[str, ...] = ()

    @property
    def protected(self) -> frozenset[int]:
        """Slices that a propagation must not change."""
        return frozenset(self.masks) | self.cleared

    def open_range(self, wanted: range | None = None) -> range:
        """The slices to work on: those wanted, up to where the user cleared a slice beyond all annotated ones.

        The range is widened to the annotated slices, from which the work starts.
        """
        low, high = min(self.masks), max(self.masks)
        first, last = (0, self.count - 1) if wanted is None else (min(wanted), max(wanted))
        first = max([first] + [index + 1 for index in self.cleared if index < low])
        last = min([last] + [index - 1 for index in self.cleared if index > high])
        return range(min(first, low), max(last, high) + 1)


def find_annotation(
    segmentation: slicer.vtkMRMLSegmentationNode,
    segment_id: str,
    volume: slicer.vtkMRMLVolumeNode,
    view_axis: int | None = None,
) -> Annotation:
    """Find the annotated slices of a segment from its voxels.

    Args:
        segmentation: the segmentation node.
        segment_id: the segment.
        volume: the volume whose slices are meant.
        view_axis: array axis that the slice view looks along; it only decides where the voxels allow several.

    Raises:
        NothingDrawn: it holds only what was found for it.
        InputError: the segment is empty, or was not drawn slice by slice.
    """
    key = view_axis, state_of(segmentation, segment_id, volume)
    return _LOOKS.at(key, lambda: _look(segmentation, segment_id, volume, view_axis))


def drawn_slices(
    segmentation: slicer.vtkMRMLSegmentationNode, segment_id: str, volume: slicer.vtkMRMLVolumeNode, axis: int
) -> Annotation:
    """What the user drew across a given axis, which may be nothing; raises as :func:`segment_reader.read_mask`."""
    record, shape = Record.of(segment_of(segmentation, segment_id)), volume.GetImageData().GetDimensions()[::-1]
    if record is not None and (record.shape != shape or record.axis != axis):
        record = None
    box = read_box(segmentation, segment_id, volume)
    part, first = (np.zeros((0, 0, 0), bool), (0, 0, 0)) if box is None else box
    return _told_apart(part, first, record, axis, volume, ResampledSlices.of(record, segmentation, segment_id, volume))


def _look(segmentation, segment_id: str, volume, view_axis: int | None) -> Annotation:
    segment = segment_of(segmentation, segment_id)
    check_transforms(segmentation, volume)
    box = read_box(segmentation, segment_id, volume)
    if box is None:
        raise InputError(f"{segment.GetName()} is empty on {volume.GetName()}; outline it on one slice.")
    part, first = box
    shape = volume.GetImageData().GetDimensions()[::-1]
    record = Record.of(segment)
    if record is not None and record.shape != shape:
        record = None
    axis = _drawn_axis(used_planes(part), segment.GetName(), view_axis) if record is None else record.axis
    resampled = ResampledSlices.of(record, segmentation, segment_id, volume)
    found = _told_apart(part, first, record, axis, volume, resampled)
    if not found.masks:
        raise NothingDrawn(
            f"{segment.GetName()} holds only what was found for it; outline or correct it on at least one slice."
        )
    warnings = _warnings(segmentation, segment_id, volume, record is None and len(found.masks) > 1)
    return replace(found, warnings=warnings)


def _told_apart(
    part: np.ndarray, first, record: Record | None, axis: int, volume, resampled: ResampledSlices | None
) -> Annotation:
    """The slices of a box of voxels, the user's and ours."""
    shape = volume.GetImageData().GetDimensions()[::-1]
    others = [a for a in range(3) if a != axis]
    place = tuple(slice(first[a], first[a] + part.shape[a]) for a in others)
    whole = np.zeros([shape[a] for a in others], bool)  # used again for each slice, which saves most of the time
    drawn, ours, touched = {}, set(), {}
    for index, plane in enumerate(np.moveaxis(part, axis, 0), start=first[axis]):
        if not plane.any():
            continue
        whole[place] = plane
        unchanged = resampled is not None and resampled.unchanged(index, whole)
        if record is not None and record.ours(index, whole) or (unchanged and resampled.expects(index)):
            ours.add(index)
        elif unchanged:
            touched[index] = whole.copy()
        elif resampled is None or not resampled.cleared(index, whole):
            drawn[index] = whole.copy()
    # Single voxels of a slice next to one that holds more come from that one; anywhere else they are all that was drawn.
    beside = {index + side for index in ours | set(drawn) for side in (-1, 1)}
    ours |= touched.keys() & beside
    drawn |= {index: mask for index, mask in touched.items() if index not in beside}
    cleared = frozenset() if record is None else frozenset(record.slices) - ours - set(drawn)
    return Annotation(axis, plane_name(volume, axis), drawn, frozenset(ours), cleared, shape[axis])


def _drawn_axis(planes: Sequence[np.ndarray], name: str, view_axis: int | None) -> int:
    """The axis with exactly one slice that is not empty; where several slices are drawn, the axis with by far the
    fewest."""
    counts = [len(used) for used in planes]
    single = [axis for axis in range(3) if counts[axis] == 1]
    if single:
        return view_axis if view_axis in single else single[0]
    order = sorted(range(3), key=lambda axis: counts[axis])
    if counts[order[0]] <= _FEW * counts[order[1]]:
        return order[0]
    raise InputError(
        f"{name} was not drawn slice by slice: it fills {counts[0]}, {counts[1]} and {counts[2]} "
        "slices along the three axes; "
        "leave it on a few parallel slices only."
    )


def _warnings(segmentation, segment_id: str, volume, several: bool) -> tuple[str, ...]:
    match = match_grids(segmentation, segment_id, volume)
    if match is None or match.exact:
        return ()
    name = segment_of(segmentation, segment_id).GetName()
    if match.degrees > OBLIQUE_DEGREES:
        return (
            f"{name} lies on a grid turned by {match.degrees:.0f} degrees against the volume"
            + (", so one drawn slice touches several slices of the volume" if several else "")
            + "; a run puts it onto the volume's grid.",
        )
    if match.coarser:
        sentence = (
            f"{name} lies on a coarser grid than the volume, so results are kept at its resolution only; "
            "in Segment Editor set the segmentation's geometry to the volume's."
        )
        return (sentence,)
    return ()
