"""Annotated slices from a label image or a Slicer segmentation (``.seg.nrrd``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK

from MedPerSAMLib.core.task import Reference
from MedPerSAMLib.errors import InputError
from MedPerSAMLib.services.images.grid import Geometry, Grid
from MedPerSAMLib.services.images.structure import PALETTE, Structure, unnamed_structure
from MedPerSAMLib.services.images.volume_file import first_volume, read_image

MOST_STRUCTURES = 256
"""More label values than this are intensities, not structures."""


@dataclass(frozen=True)
class ReferenceFile:
    """The annotated structures of one volume.

    Attributes:
        axis: array axis (0 for k, 1 for j, 2 for i) along which the annotated slices lie.
        structures: in the file's order; only those with voxels.
        masks: label value -> (k, j, i) bool on the volume's grid; masks may overlap.
        notes: sentences for the user, such as which segments are empty.
    """

    axis: int
    structures: tuple[Structure, ...]
    masks: Mapping[int, np.ndarray]
    notes: tuple[str, ...] = ()

    def references(self, geometry: Geometry) -> dict[int, Reference]:
        """Label value -> the structure's annotated slices.

        Raises:
            InputError: a structure has too few pixels on an annotated slice.
        """
        found = {}
        for structure in self.structures:
            slices = geometry.to_slices(self.masks[structure.value])
            annotated = np.flatnonzero(slices.any(axis=(1, 2)))
            found[structure.value] = Reference(
                {int(k): np.ascontiguousarray(slices[k]) for k in annotated}, structure.name
            )
        return found


def read_reference(path: str | Path, grid: Grid) -> ReferenceFile:
    """Read the annotated slices of the volume that lies on ``grid``.

    Args:
        path: a label image on the same grid, each value above zero a structure; or a ``.seg.nrrd``, which may also be
            cropped to a part of the grid and may have several layers.
        grid: the volume's.

    Raises:
        InputError: the file cannot be read, lies on another grid, is empty, holds no labels, or is not planar.
    """
    path = Path(path)
    image = read_image(path)
    if image.GetDimension() > 3 and all(n == 1 for n in image.GetSize()[3:]):
        image = first_volume(image)
    if image.GetDimension() != 3:
        raise InputError(
            f"The mask {path} has {image.GetDimension()} dimensions; give a label image on the volume's grid."
        )
    is_segmentation = path.name.lower().endswith(".seg.nrrd")
    if not is_segmentation and image.GetNumberOfComponentsPerPixel() > 1:
        raise InputError(
            f"The mask {path} has {image.GetNumberOfComponentsPerPixel()} values per voxel; give a label image."
        )
    layers = _layers_on_grid(image, path, grid, may_be_cropped=is_segmentation)
    structures, masks, notes = (_segments if is_segmentation else _labels)(image, layers, path)
    if not structures:
        raise InputError(f"The mask {path} is empty; outline each structure on at least one slice.")
    axis = annotated_axis(np.any(list(masks.values()), axis=0), grid, str(path))
    return ReferenceFile(axis, structures, masks, notes)


def annotated_axis(mask: np.ndarray, grid: Grid, name: str) -> int:
    """The array axis along which the slices of a planar (k, j, i) mask lie.

    Along that axis the mask is non-empty on clearly fewer slices than along the others (at most half as many, or with
    gaps between them), and none of the slices is a mere line left by a plane across.

    Raises:
        InputError: no axis, or more than one, is like that.
    """
    counts, gaps = [], []
    for axis in range(3):
        filled = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        counts.append(len(filled))
        gaps.append(len(filled) < filled[-1] - filled[0] + 1)
    axis = int(np.argmin(counts))
    others = [counts[other] for other in range(3) if other != axis]
    planar = counts[axis] <= min(others) / 2 or (gaps[axis] and counts[axis] < min(others))
    if planar and not _mostly_lines(np.moveaxis(mask, axis, 0)):
        return axis
    found = ", ".join(f"{counts[a]} {grid.plane(a)}" for a in range(3))
    raise InputError(
        f"{name} is non-empty on {found} slices, so its annotated slices do not lie along one axis; "
        "keep outlines on a few slices of one orientation."
    )


def _mostly_lines(slices: np.ndarray) -> bool:
    """Whether most non-empty slices are one pixel wide, as where a plane of another orientation crosses them."""
    filled = slices[slices.any(axis=(1, 2))]
    extents = np.minimum(filled.any(axis=1).sum(axis=1), filled.any(axis=2).sum(axis=1))
    return np.count_nonzero(extents <= 1) > len(filled) / 2


def _layers_on_grid(image: SimpleITK.Image, path: Path, grid: Grid, may_be_cropped: bool) -> np.ndarray:
    """(layers, k, j, i) label values on the volume's grid."""
    own = Grid.of(image)
    offset = grid.offset_of(own)
    array = SimpleITK.GetArrayViewFromImage(image)
    layers = np.moveaxis(array, 3, 0) if array.ndim == 4 else array[None]
    if own.matches(grid):
        return layers
    inside = offset is not None and all(0 <= o and o + n <= m for o, n, m in zip(offset, own.size, grid.size))
    if not (may_be_cropped and inside):
        raise InputError(
            f"The mask {path} has {own.describe()}, but the volume has {grid.describe()}; "
            "resample the mask onto the volume's grid."
        )
    whole = np.zeros((len(layers), *grid.size[::-1]), layers.dtype)
    window = tuple(slice(o, o + n) for o, n in zip(offset[::-1], own.size[::-1]))
    whole[(slice(None), *window)] = layers
    return whole


def _labels(image: SimpleITK.Image, layers: np.ndarray, path: Path):
    values = np.unique(layers[0])
    if not np.isfinite(values).all() or (values != np.round(values)).any() or values[0] < 0:
        raise InputError(
            f"The mask {path} has values such as {_odd_value(values):g}; give whole label values of 0 and above."
        )
    values = [int(v) for v in values if v > 0]
    if len(values) > MOST_STRUCTURES:
        raise InputError(f"The mask {path} has {len(values)} different values; give a label image, not intensities.")
    return tuple(unnamed_structure(v) for v in values), {v: layers[0] == v for v in values}, ()


def _odd_value(values: np.ndarray) -> float:
    odd = ~np.isfinite(values) | (values != np.round(values)) | (values < 0)
    return values[odd][0]


def _segments(image: SimpleITK.Image, layers: np.ndarray, path: Path):
    """The segments that the ``.seg.nrrd`` names, or plain labels where it names none."""
    fields = _segment_fields(image)
    if not fields:
        return _labels(image, layers, path)
    structures, masks, notes = [], {}, []
    for number, segment in sorted(fields.items()):
        name = segment.pop("Name", f"segment {number + 1}")
        # Files of Slicer before 4.11 have one layer per segment and neither of the two fields.
        layer = int(segment.pop("Layer", number if len(layers) > 1 else 0))
        value = int(segment.pop("LabelValue", 1))
        colour = tuple(float(c) for c in segment.pop("Color", "").split()) or PALETTE[number % len(PALETTE)]
        if layer >= len(layers):
            raise InputError(f"{path}: segment {name} is in layer {layer} of {len(layers)}; save the segmentation again.")
        mask = layers[layer] == value
        if not mask.any():
            notes.append(f"{name} has no annotated slice and was left out.")
            continue
        value = value if value not in masks else max(masks) + 1
        structures.append(Structure(name, value, colour[:3], segment))
        masks[value] = mask
    return tuple(structures), masks, tuple(notes)


def _segment_fields(image: SimpleITK.Image) -> dict[int, dict[str, str]]:
    """Segment number -> field -> text, from keys such as ``Segment0_Name``."""
    fields: dict[int, dict[str, str]] = {}
    for key in image.GetMetaDataKeys():
        head, _, field = key.partition("_")
        number = head.removeprefix("Segment")
        if head.startswith("Segment") and number.isdigit():
            fields.setdefault(int(number), {})[field] = image.GetMetaData(key)
    # The extent is of the file's own grid and of voxels that will change.
    for segment in fields.values():
        segment.pop("Extent", None)
    return fields
