"""Which slices of a segment on a turned grid somebody drew, and which are still as we left them.

A stroke in Segment Editor goes onto the segmentation's own grid, and brings the whole layer back there. Where that grid
is turned against the volume's, every slice then reads a little differently, and fingerprints say nothing. So what we left
is brought onto that grid the same way, and slices are compared with how that reads. Single voxels of a stroke on one slice
also reach its neighbours; only what holds a square of 2x2 pixels counts.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import slicer

from MedPerSAMLib.mrml.geometry import transform_between
from MedPerSAMLib.mrml.segment_reader import image_on, segment_of, stored_labels, whole_extent
from MedPerSAMLib.mrml.shared_grid import label_array
from MedPerSAMLib.mrml.slice_record import Record
from MedPerSAMLib.mrml.turned_layer import image_in, is_turned


class ResampledSlices:
    """How the slices read now, were nothing drawn since we left them.

    Args:
        drawn: slices that were the user's when we left.
        expected: (slices, rows, columns) bool; None where nothing was left.
    """

    def __init__(self, drawn: Collection[int], expected: np.ndarray | None) -> None:
        self._drawn, self._expected = frozenset(drawn), expected

    @classmethod
    def of(
        cls,
        record: Record | None,
        segmentation: slicer.vtkMRMLSegmentationNode,
        segment_id: str,
        volume: slicer.vtkMRMLVolumeNode,
    ) -> ResampledSlices | None:
        """Of a segment with that record; None where its grid is not turned, so that nothing was resampled."""
        if not is_turned(segmentation, segment_id, volume):
            return None
        if record is None or not record.outlines:
            return cls((), None)
        left = record.left()
        planes = np.moveaxis(left, record.axis, 0)
        drawn = [index for index in record.outlines if not record.ours(index, planes[index])]
        labels = stored_labels(segment_of(segmentation, segment_id))
        image = image_in(segmentation, volume, left, (0, 0, 0))
        resampled, back = slicer.vtkOrientedImageData(), slicer.vtkOrientedImageData()
        resample = slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage
        resample(image, labels, resampled, False, True)
        grid = image_on(volume, whole_extent(volume))
        resample(resampled, grid, back, False, False, transform_between(segmentation, volume))
        return cls(drawn, np.moveaxis(label_array(back) != 0, record.axis, 0))

    def unchanged(self, index: int, mask: np.ndarray) -> bool:
        """Whether a slice is as we left it, and the user had not drawn it before."""
        changed = mask if self._expected is None else mask ^ self._expected[index]
        return index not in self._drawn and not _filled(changed)

    def expects(self, index: int) -> bool:
        """Whether something would be on a slice, were nothing drawn."""
        return self._expected is not None and bool(self._expected[index].any())

    def cleared(self, index: int, mask: np.ndarray) -> bool:
        """Whether nothing but single voxels is left of a slice."""
        return self._expected is not None and _filled(self._expected[index]) and not _filled(mask)


def _filled(mask: np.ndarray) -> bool:
    """Whether there is a square of 2x2 pixels in a (rows, columns) mask."""
    rows = mask[1:] & mask[:-1]
    return bool((rows[:, 1:] & rows[:, :-1]).any())
