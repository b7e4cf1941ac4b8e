"""The structures of a label image or a Slicer segmentation (``.seg.nrrd``), on a volume's grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK

from MedPerSAMLib.errors import InputError
from MedPerSAMLib.services.images.grid import Grid
from MedPerSAMLib.services.images.structure import PALETTE, Structure, unnamed_structure
from MedPerSAMLib.services.images.volume_file import first_volume, read_image

MOST_STRUCTURES = 256
"""More label values than this are intensities, not structures."""


@dataclass(frozen=True)
class LabelFile:
    """The structures of one volume.

    Attributes:
        structures: in the file's order; those of a segmentation that have no voxel are among them.
        masks: label value -> (k, j, i) bool on the volume's grid, none of them empty; masks may overlap.
    """

    structures: tuple[Structure, ...]
    masks: Mapping[int, np.ndarray]

    @property
    def filled(self) -> tuple[Structure, ...]:
        """The structures with voxels."""
        return tuple(structure for structure in self.structures if structure.value in self.masks)

    @property
    def empty(self) -> tuple[Structure, ...]:
        """The structures without."""
        return tuple(structure for structure in self.structures if structure.value not in self.masks)


def read_labels(path: str | Path, grid: Grid) -> LabelFile:
    """Read the structures of the volume that lies on ``grid``.

    Args:
        path: a label image on the same grid, each value above zero a structure; or a ``.seg.nrrd``, which may also be
            cropped to a part of the grid and may have several layers.
        grid: the volume's.

    Raises:
        InputError: the file cannot be read, lies on another grid, or holds no labels.
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
    return (_segments if is_segmentation else _labels)(image, layers, path)


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


def _labels(image: SimpleITK.Image, layers: np.ndarray, path: Path) -> LabelFile:
    values = np.unique(layers[0])
    if not np.isfinite(values).all() or (values != np.round(values)).any() or values[0] < 0:
        raise InputError(
            f"The mask {path} has values such as {_odd_value(values):g}; give whole label values of 0 and above."
        )
    values = [int(v) for v in values if v > 0]
    if len(values) > MOST_STRUCTURES:
        raise InputError(f"The mask {path} has {len(values)} different values; give a label image, not intensities.")
    return LabelFile(tuple(unnamed_structure(v) for v in values), {v: layers[0] == v for v in values})


def _odd_value(values: np.ndarray) -> float:
    odd = ~np.isfinite(values) | (values != np.round(values)) | (values < 0)
    return values[odd][0]


def _segments(image: SimpleITK.Image, layers: np.ndarray, path: Path) -> LabelFile:
    """The segments that the ``.seg.nrrd`` names, or plain labels where it names none."""
    fields = _segment_fields(image)
    if not fields:
        return _labels(image, layers, path)
    structures, masks = [], {}
    for number, segment in sorted(fields.items()):
        name = segment.pop("Name", f"segment {number + 1}")
        # Files of Slicer before 4.11 have one layer per segment and neither of the two fields.
        layer = _whole(segment.pop("Layer", str(number if len(layers) > 1 else 0)), "layer", 0, name, path)
        value = _whole(segment.pop("LabelValue", "1"), "label value", 1, name, path)
        colour = _colour(segment.pop("Color", ""), name, path) or PALETTE[number % len(PALETTE)]
        if layer >= len(layers):
            raise InputError(
                f"{path}: segment {name} is in layer {layer} of {len(layers)}; save the segmentation again."
            )
        mask = layers[layer] == value
        if mask.any():
            value = value if value not in masks else max(masks) + 1
            masks[value] = mask
        structures.append((mask.any(), Structure(name, value, colour, segment)))
    # Segments without voxels take what values are left, so that they change none of the others.
    taken = set(masks)
    for place, (filled, structure) in enumerate(structures):
        value = structure.value
        if not filled:
            value = value if value not in taken else max(taken) + 1
            taken.add(value)
        structures[place] = replace(structure, value=value)
    return LabelFile(tuple(structures), masks)


def _whole(text: str, what: str, least: int, name: str, path: Path) -> int:
    number = int(text) if text.strip().isdecimal() else -1
    if number < least:
        raise InputError(
            f"{path}: segment {name} has the {what} {text!r}, which is no whole number of {least} or above; "
            "save the segmentation again."
        )
    return number


def _colour(text: str, name: str, path: Path) -> tuple[float, float, float] | None:
    """Red, green, blue; None where ``text`` is empty."""
    try:
        colour = tuple(float(word) for word in text.split()[:3])
    except ValueError:
        colour = (np.nan,)
    if colour and not (len(colour) == 3 and np.isfinite(colour).all()):
        raise InputError(
            f"{path}: segment {name} has the colour {text!r}, which is not three numbers from 0 to 1; "
            "save the segmentation again."
        )
    return colour or None


def _segment_fields(image: SimpleITK.Image) -> dict[int, dict[str, str]]:
    """Segment number -> field -> text, from keys such as ``Segment0_Name``."""
    fields: dict[int, dict[str, str]] = {}
    for key in image.GetMetaDataKeys():
        head, _, field = key.partition("_")
        number = head.removeprefix("Segment")
        if head.startswith("Segment") and number.isdecimal():
            fields.setdefault(int(number), {})[field] = image.GetMetaData(key)
    # The extent is of the file's own grid and of voxels that will change.
    for segment in fields.values():
        segment.pop("Extent", None)
    return fields
