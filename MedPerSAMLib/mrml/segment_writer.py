"""Masks into segments, slice by slice, exactly where the volume has them.

What Slicer's own functions would do, and why they are not used as they are:

- ``slicer.util.updateSegmentBinaryLabelmapFromArray`` applies the transform twice where volume and segmentation stand
  under different transforms, and replaces the whole segment.
- ``MODE_REPLACE`` clears the whole segment even when an extent is given; ``MODE_MERGE_MAX`` writes the value 1 into a
  layer that several segments share, whatever the segment's label value is. So a change is taken apart into what is
  removed (``MODE_MERGE_MIN``) and what is added (``MODE_MERGE_MASK``, as Segment Editor's own effects do).
- Every merge resamples the layer onto the grid of what is written. So the change is brought onto the segment's grid
  first, and finer contours that the user drew, in this or another segment of the layer, stay as they are.
"""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from MedPerSAMLib.errors import OutputError
from MedPerSAMLib.mrml.geometry import transform_between
from MedPerSAMLib.mrml.segment_reader import (
    image_on,
    own_grid,
    read_mask,
    segment_of,
    slice_extent,
    stored_labels,
    whole_extent,
)
from MedPerSAMLib.mrml.shared_grid import (
    Extent,
    contains,
    grow,
    label_array,
    label_image,
    offset_to,
    overlap,
    pad_to,
    tight_extent,
    used_planes,
    voxel_count,
)

_LOGIC = slicer.vtkSlicerSegmentationsModuleLogic


def write_slice(
    segmentation: slicer.vtkMRMLSegmentationNode,
    segment_id: str,
    volume: slicer.vtkMRMLVolumeNode,
    axis: int,
    index: int,
    mask: np.ndarray,
) -> None:
    """Make one slice of a segment equal to a (rows, columns) bool mask, and touch nothing else.

    Raises:
        InputError: no such segment, or a transform between the nodes is not linear.
        OutputError: Slicer refused the voxels.
    """
    if not segmentation.GetSegmentation().GetConversionParameter(_reference_geometry()):
        segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    extent, wanted = slice_extent(volume, axis, index), np.expand_dims(mask, axis)
    current = read_mask(segmentation, segment_id, volume, extent)
    _change(segmentation, segment_id, volume, extent, current & ~wanted, add=False)
    _change(segmentation, segment_id, volume, extent, wanted & ~current, add=True)


def make_room(
    segmentation: slicer.vtkMRMLSegmentationNode,
    segment_id: str,
    volume: slicer.vtkMRMLVolumeNode,
    axis: int,
    slices: range,
) -> None:
    """Let the segment's array hold these slices, so that each is written without copying the others."""
    labels = stored_labels(segment_of(segmentation, segment_id))
    offset = None if labels is None else offset_to(labels, segmentation, volume)
    if offset is None or not len(slices):
        return
    extent = list(whole_extent(volume))
    extent[2 * (2 - axis) : 2 * (2 - axis) + 2] = [min(slices), max(slices)]
    grow(labels, [value + offset[i // 2] for i, value in enumerate(extent)])


def trim(segmentation: slicer.vtkMRMLSegmentationNode, segment_id: str) -> None:
    """Give back the room that no voxel of the layer needs, where that is most of it: the copy takes time, too."""
    labels = stored_labels(segment_of(segmentation, segment_id))
    needed = None if labels is None else tight_extent(labels)
    if needed is not None and 2 * voxel_count(needed) < voxel_count(labels.GetExtent()):
        pad_to(labels, needed)


def _change(
    segmentation: slicer.vtkMRMLSegmentationNode,
    segment_id: str,
    volume: slicer.vtkMRMLVolumeNode,
    extent: Extent,
    change: np.ndarray,
    add: bool,
) -> None:
    """Add or remove the voxels of ``change``, (k, j, i) bool of the extent's size."""
    if not change.any():
        return
    part, cropped = _tight(extent, change)
    if _in_place(segmentation, segment_of(segmentation, segment_id), volume, part, cropped, add):
        return
    image = _on_stored_grid(segmentation, segment_id, volume, part, cropped)
    if image is None:
        return
    if not add:
        values = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
        values[:] = values == 0
    mode = _LOGIC.MODE_MERGE_MASK if add else _LOGIC.MODE_MERGE_MIN
    if not _LOGIC.SetBinaryLabelmapToSegment(image, segmentation, segment_id, mode, image.GetExtent()):
        raise OutputError(
            f"Slicer did not take the voxels for segment {segment_id!r}; save the scene and restart Slicer."
        )


def _in_place(segmentation, segment, volume, extent: Extent, change: np.ndarray, add: bool) -> bool:
    """Assign the voxels where they lie in the segment's own array, if that hurts no other segment of the layer."""
    labels = stored_labels(segment)
    offset = None if labels is None else offset_to(labels, segmentation, volume)
    if offset is None or not contains(labels, offset, extent):
        return False
    values = label_array(labels)[overlap(labels, offset, extent)[1]]
    if add and (values[change] != 0).any() or segment.GetLabelValue() > np.iinfo(values.dtype).max:
        return False
    values[change] = segment.GetLabelValue() if add else 0
    labels.GetPointData().GetScalars().Modified()
    labels.Modified()
    return True


def _on_stored_grid(
    segmentation, segment_id: str, volume, extent: Extent, change: np.ndarray
) -> slicer.vtkOrientedImageData | None:
    """The change on the grid of the segment's layer, or on the volume's while that is empty; None where the layer has
    no voxel there."""
    labels = stored_labels(segment_of(segmentation, segment_id))
    own = None if labels is None else own_grid(labels, segmentation, volume)
    if own is not None:
        spread = own.spread(extent, change)
        if spread is None:
            return None
        to_world = vtk.vtkMatrix4x4()
        labels.GetImageToWorldMatrix(to_world)
        return label_image(*spread, to_world)
    image = image_on(volume, extent, change)
    slicer.vtkOrientedImageDataResample.TransformOrientedImage(image, transform_between(volume, segmentation))
    if labels is None:
        return image
    out = slicer.vtkOrientedImageData()
    resample = slicer.vtkOrientedImageDataResample
    if not resample.ResampleOrientedImageToReferenceOrientedImage(image, labels, out, False, True):
        raise OutputError(
            "The slice could not be brought onto the segmentation's grid; check its geometry in Segment Editor."
        )
    return out


def _tight(extent: Extent, change: np.ndarray) -> tuple[Extent, np.ndarray]:
    """The extent's part that holds all of ``change``, and that part: less to merge makes a slice quick to write."""
    part, crop = list(extent), []
    for axis, used in enumerate(used_planes(change)):
        first = extent[2 * (2 - axis)]
        part[2 * (2 - axis) : 2 * (2 - axis) + 2] = [first + int(used[0]), first + int(used[-1])]
        crop.append(slice(used[0], used[-1] + 1))
    return tuple(part), change[tuple(crop)]


def _reference_geometry() -> str:
    return slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
