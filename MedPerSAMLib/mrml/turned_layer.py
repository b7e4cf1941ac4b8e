"""A segment whose voxels are turned against the volume's: onto the volume's grid for a run, and back.

On a turned grid nearest neighbours decide, so a slice does not read back as it was written. Before a run writes, the
segment therefore gets a layer of its own on the volume's grid; other segments of its layer stay where they are. It is
ordinary MRML: files, Undo and ``arrayFromSegmentBinaryLabelmap`` know nothing of it. Segment Editor brings the layer back
onto the segmentation's own grid with the first stroke (see ``resampled_slices``), and the next run leaves it again.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import slicer

from MedPerSAMLib.mrml.geometry import check_transforms, transform_between
from MedPerSAMLib.mrml.segment_reader import box_of, image_on, own_grid, read_box, read_mask, segment_of, stored_labels
from MedPerSAMLib.mrml.shared_grid import grow, label_array, offset_to, overlap

_BINARY = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
_RESAMPLE = slicer.vtkOrientedImageDataResample


def is_turned(segmentation: slicer.vtkMRMLSegmentationNode, segment_id: str, volume: slicer.vtkMRMLVolumeNode) -> bool:
    """Whether the segment's voxels are turned against the volume's.

    Raises:
        InputError: no such segment, or a transform between the nodes is not linear.
    """
    labels = stored_labels(segment_of(segmentation, segment_id))
    return labels is not None and _turned(labels, segmentation, volume)


def turns_back(segmentation: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLVolumeNode) -> bool:
    """Whether the segmentation's own grid, onto which Segment Editor brings what it changes, is turned."""
    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    text, image = segmentation.GetSegmentation().GetConversionParameter(name), slicer.vtkOrientedImageData()
    if not text or not slicer.vtkSegmentationConverter.DeserializeImageGeometry(text, image, False):
        return False
    return _turned(image, segmentation, volume)


class TurnedLayer:
    """What a segment was before it left its layer; made by :meth:`leave`."""

    def __init__(self, segmentation, segment_id: str, volume, held: tuple | None) -> None:
        self._segmentation, self._segment_id, self._volume = segmentation, segment_id, volume
        segment = segment_of(segmentation, segment_id)
        labels = stored_labels(segment)
        self._layer, self._value = labels, segment.GetLabelValue()
        self._held = held
        self._own: slicer.vtkOrientedImageData | None = None
        if len(_in_layer(segmentation, labels)) > 1:
            self._own = slicer.vtkOrientedImageData()
            self._own.DeepCopy(labels)
            values = label_array(self._own)
            values *= values == self._value

    @classmethod
    def leave(
        cls,
        segmentation: slicer.vtkMRMLSegmentationNode,
        segment_id: str,
        volume: slicer.vtkMRMLVolumeNode,
        axis: int = 0,
        empty: Collection[int] = (),
    ) -> TurnedLayer | None:
        """Give a segment a layer of its own on the volume's grid, with the voxels that ``read_mask`` finds.

        Args:
            segmentation: the segmentation node.
            segment_id: the segment.
            volume: gives the grid.
            axis: array axis of the slices in ``empty``.
            empty: slices that become empty, because there are only single voxels of what was drawn on others, or of what was
                cleared.

        Returns:
            what it was; None, and nothing done, where its grid is not turned.

        Raises:
            InputError: no such segment, or no labelmap can have the volume's voxels (``check_transforms``).
        """
        if not is_turned(segmentation, segment_id, volume):
            return None
        check_transforms(segmentation, volume)
        nothing = np.zeros((1, 1, 1), bool), (0, 0, 0)
        mask = read_mask(segmentation, segment_id, volume)
        np.moveaxis(mask, axis, 0)[list(empty)] = False
        before = cls(segmentation, segment_id, volume, box_of(mask))
        image = image_in(segmentation, volume, *(nothing if before._held is None else before._held))
        segment = segment_of(segmentation, segment_id)
        segmentation.GetSegmentation().SeparateSegmentLabelmap(segment_id)  # takes its voxels out of a shared layer
        segment.SetLabelValue(1)
        _give(segment, image)
        return before

    def put_back(self) -> bool:
        """Make the segment what it was, if it still holds what it held then; whether that was so."""
        if is_turned(self._segmentation, self._segment_id, self._volume):
            return True  # Undo has done it
        now = read_box(self._segmentation, self._segment_id, self._volume)
        if (now is None) != (self._held is None) or (
            now is not None and not (now[1] == self._held[1] and np.array_equal(now[0], self._held[0]))
        ):
            return False
        segment = segment_of(self._segmentation, self._segment_id)
        if self._own is None:
            labels = self._layer
        else:
            labels = self._layer if self._fits_in_layer() else self._own
        segment.SetLabelValue(self._value)
        _give(segment, labels)
        return True

    def _fits_in_layer(self) -> bool:
        """Write the segment's voxels into the layer that it shared; False, and nothing done, where that has changed too
        much."""
        values = {segment.GetLabelValue() for segment in _in_layer(self._segmentation, self._layer)}
        if not values or self._value in values or not _RESAMPLE.DoGeometriesMatch(self._layer, self._own):
            return False
        grow(self._layer, self._own.GetExtent())
        _, place = overlap(self._layer, (0, 0, 0), self._own.GetExtent())
        into, own = label_array(self._layer)[place], label_array(self._own)
        if into[own != 0].any():
            return False  # another segment was drawn there meanwhile
        np.add(into, own, out=into, casting="unsafe")
        self._layer.GetPointData().GetScalars().Modified()
        return True


def image_in(segmentation, volume, part: np.ndarray, first: tuple[int, int, int]) -> slicer.vtkOrientedImageData:
    """A (k, j, i) bool part of the volume that begins at ``first``, as an image in the segmentation's coordinates."""
    extent = [value for start, size in zip(first[::-1], part.shape[::-1]) for value in (start, start + size - 1)]
    image = image_on(volume, tuple(extent), part)
    _RESAMPLE.TransformOrientedImage(image, transform_between(volume, segmentation))
    return image


def _turned(labels: slicer.vtkOrientedImageData, segmentation, volume) -> bool:
    return offset_to(labels, segmentation, volume) is None and own_grid(labels, segmentation, volume) is None


def _in_layer(segmentation, labels: slicer.vtkOrientedImageData) -> list[slicer.vtkSegment]:
    """The segments whose layer that is (Slicer's own ``IsSharedBinaryLabelmap`` says the opposite of its name)."""
    content = segmentation.GetSegmentation()
    segments = [content.GetNthSegment(n) for n in range(content.GetNumberOfSegments())]
    return [segment for segment in segments if segment.GetRepresentation(_BINARY) is labels]


def _give(segment: slicer.vtkSegment, labels: slicer.vtkOrientedImageData) -> None:
    segment.AddRepresentation(_BINARY, labels)
    labels.Modified()  # the segmentation observes it by now, and views hear of it
