"""Many slices of one segment at a time, as Cancel and Discard need them.

The geometry is looked up once, the array is changed in place, and observers are told once: slice by slice, taking back
five segments of hundreds of slices stopped the panel for seconds.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import slicer

from MedPerSAMLib.mrml.segment_reader import read_slice, segment_of, stored_labels, whole_extent
from MedPerSAMLib.mrml.segment_writer import write_slice
from MedPerSAMLib.mrml.shared_grid import label_array, offset_to, overlap


class SegmentSlices:
    """The slices of a segment across one axis; valid until something else changes the segment.

    Args:
        segmentation: the segmentation node.
        segment_id: the segment's ID.
        volume: gives the grid.
        axis: array axis across which the slices lie.

    Raises:
        InputError: no such segment, or a transform between the nodes is not linear.
    """

    def __init__(
        self,
        segmentation: slicer.vtkMRMLSegmentationNode,
        segment_id: str,
        volume: slicer.vtkMRMLVolumeNode,
        axis: int,
    ) -> None:
        self._where = segmentation, segment_id, volume, axis
        segment = segment_of(segmentation, segment_id)
        self._labels, self._value = stored_labels(segment), segment.GetLabelValue()
        self._shape = tuple(np.delete(volume.GetImageData().GetDimensions()[::-1], axis))
        offset = None if self._labels is None else offset_to(self._labels, segmentation, volume)
        self._shares_grid, self._values = offset is not None, np.zeros((0, 0, 0))
        shared = None if offset is None else overlap(self._labels, offset, whole_extent(volume))
        if shared is not None:
            place, stored = shared
            self._values = np.moveaxis(label_array(self._labels)[stored], axis, 0)
            self._first, self._place = place[axis].start, tuple(p for other, p in enumerate(place) if other != axis)

    def read(self, index: int) -> np.ndarray:
        """(rows, columns) bool of one slice."""
        if not self._shares_grid:
            return read_slice(*self._where, index)
        mask, values = np.zeros(self._shape, bool), self._stored(index)
        if values is not None:
            np.equal(values, self._value, out=mask[self._place])
        return mask

    def write(self, masks: Mapping[int, np.ndarray]) -> None:
        """Make slices equal to (rows, columns) bool masks, and touch nothing else.

        Raises:
            OutputError: Slicer refused the voxels.
        """
        if not self._shares_grid:
            others = dict(masks)
        else:
            others = {index: mask for index, mask in masks.items() if not self._in_place(index, mask)}
            self._labels.GetPointData().GetScalars().Modified()
            self._labels.Modified()
        for index, mask in others.items():
            write_slice(*self._where, index, mask)

    def _in_place(self, index: int, mask: np.ndarray) -> bool:
        """Assign a slice where it lies in the segment's own array; False, and nothing done, where it does not fit
        there or another segment of the layer would lose voxels."""
        values, filled = self._stored(index), mask.any()
        if values is None:
            return not filled
        others = values != self._value
        if filled:
            wanted = mask[self._place]
            outside = wanted.size < mask.size and np.count_nonzero(wanted) < np.count_nonzero(mask)
            if outside or (values.astype(bool) & others & wanted).any():
                return False
        np.multiply(values, others, out=values)  # four times as fast as an assignment by mask
        if filled:
            np.copyto(values, self._value, where=wanted)
        return True

    def _stored(self, index: int) -> np.ndarray | None:
        """The part of a slice for which the segment's array has labels, not a copy; None where it has none."""
        place = index - self._first if len(self._values) else -1
        return self._values[place] if 0 <= place < len(self._values) else None
