"""Segments as masks on the volume's grid, read without adding anything to the scene."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from MedPerSAMLib.errors import InputError
from MedPerSAMLib.mrml.geometry import GridMatch, compare_grids, transform_between
from MedPerSAMLib.mrml.own_grid import OwnGrid
from MedPerSAMLib.mrml.shared_grid import (
    Extent,
    between_grids,
    label_array,
    label_image,
    offset_to,
    overlap,
    used_planes,
)


def whole_extent(volume: slicer.vtkMRMLVolumeNode) -> Extent:
    """The extent of all voxels of the volume."""
    columns, rows, slices = volume.GetImageData().GetDimensions()
    return (0, columns - 1, 0, rows - 1, 0, slices - 1)


def slice_extent(volume: slicer.vtkMRMLVolumeNode, axis: int, index: int) -> Extent:
    """The extent of one slice across an array axis."""
    extent = list(whole_extent(volume))
    extent[2 * (2 - axis) : 2 * (2 - axis) + 2] = [index, index]
    return tuple(extent)


def image_on(
    volume: slicer.vtkMRMLVolumeNode, extent: Extent, mask: np.ndarray | None = None
) -> slicer.vtkOrientedImageData:
    """An image on part of the volume's grid, in the volume's own coordinates.

    Args:
        volume: gives the grid.
        extent: the part.
        mask: bool of the extent's size in (k, j, i) order (axes of length 1 may be left out), or None for geometry
            only.
    """
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return label_image(extent, mask, matrix)


def segment_of(segmentation: slicer.vtkMRMLSegmentationNode, segment_id: str) -> slicer.vtkSegment:
    """The segment with that ID.

    Raises:
        InputError: there is none, or the segmentation does not hold labelmaps.
    """
    content = segmentation.GetSegmentation()
    segment = content.GetSegment(segment_id) if content is not None else None
    if segment is None:
        raise InputError(
            f"The segmentation {segmentation.GetName()!r} has no segment {segment_id!r}; choose a segment that exists."
        )
    source = content.GetSourceRepresentationName()
    if (
        content.GetNumberOfSegments()
        and source != _binary()
        and any(content.GetNthSegment(i).GetRepresentation(source) for i in range(content.GetNumberOfSegments()))
    ):
        raise InputError(
            f"{segmentation.GetName()!r} is stored as {source.lower()}; open it in Segment Editor and "
            "let it convert to binary labelmap."
        )
    return segment


def made_for(segmentation: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLVolumeNode | None:
    """The volume that gave the segmentation its grid; None where none did, or where it is not in the scene."""
    return segmentation.GetNodeReference(segmentation.GetReferenceImageGeometryReferenceRole())


def segment_ids(segmentation: slicer.vtkMRMLSegmentationNode) -> list[str]:
    """All segments' IDs, in order."""
    content = segmentation.GetSegmentation()
    return [content.GetNthSegmentID(i) for i in range(content.GetNumberOfSegments())]


def stored_labels(segment: slicer.vtkSegment) -> slicer.vtkOrientedImageData | None:
    """The label image of the segment's layer, which other segments may share; None while it is empty. Not a copy."""
    labels = segment.GetRepresentation(_binary())
    return None if labels is None or labels.IsEmpty() else labels


def read_mask(
    segmentation: slicer.vtkMRMLSegmentationNode,
    segment_id: str,
    volume: slicer.vtkMRMLVolumeNode,
    extent: Extent | None = None,
) -> np.ndarray:
    """Which voxels of the volume lie in the segment: see ``own_grid`` for segments with other voxels along the same
    axes; nearest neighbour on turned grids, which a run leaves before it writes (``turned_layer``).

    Args:
        segmentation: the segmentation node, under any linear transform.
        segment_id: the segment's ID.
        volume: gives the grid, under any linear transform.
        extent: the part to read; all of the volume unless given.

    Returns:
        (k, j, i) bool of the extent's size.

    Raises:
        InputError: no such segment, or a transform between the nodes is not linear.
    """
    extent = whole_extent(volume) if extent is None else extent
    shape = (extent[5] - extent[4] + 1, extent[3] - extent[2] + 1, extent[1] - extent[0] + 1)
    segment = segment_of(segmentation, segment_id)
    transform = transform_between(segmentation, volume)
    labels = stored_labels(segment)
    if labels is None:
        return np.zeros(shape, bool)
    offset = offset_to(labels, segmentation, volume)
    if offset is not None:
        mask = np.zeros(shape, bool)
        shared = overlap(labels, offset, extent)
        if shared is not None:
            mask[shared[0]] = label_array(labels)[shared[1]] == segment.GetLabelValue()
        return mask
    own = own_grid(labels, segmentation, volume)
    if own is not None:
        return own.read(labels, segment.GetLabelValue(), extent)
    out = slicer.vtkOrientedImageData()
    done = slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        labels, image_on(volume, extent), out, False, False, transform
    )
    if not done:
        raise InputError(
            f"The segment {segment.GetName()!r} could not be brought onto the volume's grid; check both geometries."
        )
    values = numpy_support.vtk_to_numpy(out.GetPointData().GetScalars())
    return (values == segment.GetLabelValue()).reshape(shape)


def read_box(
    segmentation: slicer.vtkMRMLSegmentationNode, segment_id: str, volume: slicer.vtkMRMLVolumeNode
) -> tuple[np.ndarray, tuple[int, int, int]] | None:
    """The part of the volume that holds the whole segment: (k, j, i) bool and its first (k, j, i); None for an empty
    one.

    Quick for a segment drawn on one slice of a large volume. Raises like :func:`read_mask`.
    """
    segment = segment_of(segmentation, segment_id)
    labels, extent = stored_labels(segment), whole_extent(volume)
    offset = None if labels is None else offset_to(labels, segmentation, volume)
    if offset is not None:
        stored = labels.GetExtent()
        ends = [
            (max(extent[n], stored[n] - offset[n // 2]), min(extent[n + 1], stored[n + 1] - offset[n // 2]))
            for n in (0, 2, 4)
        ]
        if any(low > high for low, high in ends):
            return None
        extent = tuple(value for pair in ends for value in pair)
    elif labels is not None and (own := own_grid(labels, segmentation, volume)) is not None:
        extent = own.covered(labels)
        if extent is None:
            return None
    return box_of(read_mask(segmentation, segment_id, volume, extent), extent[4::-2])


def box_of(mask: np.ndarray, origin: Sequence[int] = (0, 0, 0)) -> tuple[np.ndarray, tuple[int, int, int]] | None:
    """The part of a (k, j, i) bool mask that holds all of it, and its first (k, j, i), counted from ``origin``; None for
    an empty one."""
    used = used_planes(mask)
    if not len(used[0]):
        return None
    first = tuple(int(origin[axis] + used[axis][0]) for axis in range(3))
    return mask[tuple(slice(u[0], u[-1] + 1) for u in used)], first


def own_grid(
    labels: slicer.vtkOrientedImageData,
    segmentation: slicer.vtkMRMLSegmentationNode,
    volume: slicer.vtkMRMLVolumeNode,
) -> OwnGrid | None:
    """How a label image's voxels make up the volume's; None if its axes are turned against the volume's."""
    return OwnGrid.of(between_grids(labels, segmentation, volume), volume.GetImageData().GetDimensions()[::-1])


def read_slice(
    segmentation: slicer.vtkMRMLSegmentationNode,
    segment_id: str,
    volume: slicer.vtkMRMLVolumeNode,
    axis: int,
    index: int,
) -> np.ndarray:
    """(rows, columns) bool of one slice of a segment; see :func:`read_mask`."""
    return read_mask(segmentation, segment_id, volume, slice_extent(volume, axis, index)).squeeze(axis)


def read_union(
    segmentation: slicer.vtkMRMLSegmentationNode,
    wanted: list[str],
    volume: slicer.vtkMRMLVolumeNode,
    axis: int,
    index: int,
) -> np.ndarray:
    """(rows, columns) bool of one slice of several segments together; a layer that many share is read once.

    Raises like :func:`read_mask`.
    """
    extent, layers = slice_extent(volume, axis, index), {}
    for segment_id in wanted:
        labels = stored_labels(segment_of(segmentation, segment_id))
        if labels is not None:
            layers.setdefault(labels, []).append(segment_id)
    union = np.zeros([volume.GetImageData().GetDimensions()[2 - other] for other in range(3) if other != axis], bool)
    for labels, sharing in layers.items():
        offset = offset_to(labels, segmentation, volume)
        if offset is None:
            for segment_id in sharing:
                union |= read_slice(segmentation, segment_id, volume, axis, index)
            continue
        shared = overlap(labels, offset, extent)
        if shared is not None:
            values = [segment_of(segmentation, segment_id).GetLabelValue() for segment_id in sharing]
            np.expand_dims(union, axis)[shared[0]] |= np.isin(label_array(labels)[shared[1]], values)
    return union


def match_grids(
    segmentation: slicer.vtkMRMLSegmentationNode, segment_id: str, volume: slicer.vtkMRMLVolumeNode
) -> GridMatch | None:
    """How the segment's stored voxels lie in the volume's; None while the segment has no voxels of its own.

    Raises:
        InputError: a transform between the nodes is not linear.
    """
    labels = stored_labels(segment_of(segmentation, segment_id))
    if labels is None:
        return None
    return compare_grids(between_grids(labels, segmentation, volume), labels.GetSpacing())


def _binary() -> str:
    return slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
