"""Segmentations into files: whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import SimpleITK

from MedPerSAMLib.errors import InputError, OutputError
from MedPerSAMLib.services.images.completeness import check_complete
from MedPerSAMLib.services.images.grid import Geometry
from MedPerSAMLib.services.images.structure import Structure

SUFFIXES = (".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".mha")


def output_suffix(path: str | Path) -> str:
    """The one of ``SUFFIXES`` that ``path`` ends with.

    Raises:
        OutputError: none of them.
    """
    name = Path(path).name.lower()
    for suffix in SUFFIXES:
        if name.endswith(suffix) and len(name) > len(suffix):
            return suffix
    raise OutputError(f"{path} has no suffix that a segmentation can be written as; use one of {', '.join(SUFFIXES)}.")


def check_writable(path: str | Path) -> None:
    """Raise OutputError where ``path`` cannot become a file: its folder is missing or may not be written to."""
    path = Path(path)
    # Of what may not be reached, os says that it is not there, where pathlib raises.
    if not os.path.isdir(path.parent):
        raise OutputError(f"There is no folder {path.parent} to write {path.name} into; create it first.")
    if os.path.isdir(path):
        raise OutputError(f"{path} is a folder; name a file in it.")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise OutputError(f"The folder {path.parent} may not be written to; choose another one.")


def partial_path(path: str | Path) -> Path:
    """Where an unfinished ``path`` goes: ``liver.nii.gz`` -> ``liver.partial.nii.gz``, ``a.json`` -> ``a.partial.json``."""
    path = Path(path)
    suffix = next((s for s in SUFFIXES if path.name.lower().endswith(s)), path.suffix)
    stem = path.name[: len(path.name) - len(suffix)]
    return path.with_name(f"{stem}.partial{path.name[len(stem):]}")


def write_segmentation(
    path: str | Path,
    layers: Sequence[np.ndarray],
    structures: Sequence[Structure],
    layer_of: Mapping[int, int],
    geometry: Geometry,
) -> None:
    """Write label maps to the file format of the path's suffix, with the geometry of the volume's file.

    The smallest unsigned integer type that holds the labels is used. The file is written beside its place, read back,
    compared, and only then moved to its place.

    Args:
        path: ends with one of ``SUFFIXES``.
        layers: label maps (slices, rows, columns); more than one only for ``.seg.nrrd``.
        structures: written as segments with names and colours into a ``.seg.nrrd``.
        layer_of: label value -> index in ``layers``.
        geometry: of the volume's file.

    Raises:
        OutputError: it cannot be written there, or the disk is full.
    """
    path, suffix = Path(path), output_suffix(path)
    check_writable(path)
    if len(layers) > 1 and suffix != ".seg.nrrd":
        raise OutputError(f"{path} cannot hold overlapping structures; write to a .seg.nrrd.")
    kind = np.min_scalar_type(max(int(layer.max()) for layer in layers))
    stacked = np.stack(layers, axis=-1).astype(kind) if len(layers) > 1 else layers[0].astype(kind)
    image = geometry.to_image(stacked)
    if suffix == ".seg.nrrd":
        _name_segments(image, structures, layer_of)
    temporary = path.with_name(f".{path.name[: -len(suffix)]}.{os.getpid()}{suffix}")
    try:
        SimpleITK.WriteImage(image, str(temporary), useCompression=True)
        # NIfTI's writer does not tell when the disk is full, so what was written is read again.
        check_complete(temporary)
        back = SimpleITK.GetArrayViewFromImage(written := SimpleITK.ReadImage(str(temporary)))
        if not np.array_equal(back, SimpleITK.GetArrayViewFromImage(image)):
            raise OutputError(f"{path} was not written completely; free space on its disk.")
        del back, written
        os.replace(temporary, path)
    except (RuntimeError, OSError, InputError) as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{path} cannot be written: {_reason(error)}; free space or choose another folder.") from error
    finally:
        temporary.unlink(missing_ok=True)


def _name_segments(image: SimpleITK.Image, structures: Sequence[Structure], layer_of: Mapping[int, int]) -> None:
    image.SetMetaData("Segmentation_MasterRepresentation", "Binary labelmap")
    image.SetMetaData("Segmentation_ContainedRepresentationNames", "Binary labelmap|")
    for number, structure in enumerate(structures):
        fields = {
            "ID": f"Segment_{number + 1}",
            **structure.tags,
            "Name": structure.name,
            "Color": " ".join(f"{c:g}" for c in structure.colour),
            "LabelValue": str(structure.value),
            "Layer": str(layer_of[structure.value]),
        }
        for field, text in fields.items():
            image.SetMetaData(f"Segment{number}_{field}", text)


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__
