"""Annotated slices from a label image or a Slicer segmentation (``.seg.nrrd``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MedPerSAMLib.core.task import MINIMUM_REFERENCE_PIXELS, Reference
from MedPerSAMLib.errors import InputError
from MedPerSAMLib.services.images.grid import Geometry, Grid
from MedPerSAMLib.services.images.label_file import read_labels
from MedPerSAMLib.services.images.structure import Structure


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
        InputError: the file cannot be read, lies on another grid, is empty, holds no labels, is not planar, or a
            structure has too few pixels.
    """
    labels = read_labels(path, grid)
    if not labels.masks:
        raise InputError(f"The mask {path} is empty; outline each structure on at least one slice.")
    for structure in labels.filled:
        # Of so few pixels nobody can tell along which axis their slices lie.
        pixels = np.count_nonzero(labels.masks[structure.value])
        if pixels < MINIMUM_REFERENCE_PIXELS:
            raise InputError(
                f"{structure.name} has only {pixels} pixel{'s' if pixels > 1 else ''} in {path}; outline at least "
                f"{MINIMUM_REFERENCE_PIXELS} pixels, on a slice where the structure is larger."
            )
    axis = annotated_axis(np.any(list(labels.masks.values()), axis=0), grid, str(path))
    notes = tuple(f"{structure.name} has no annotated slice and was left out." for structure in labels.empty)
    return ReferenceFile(axis, labels.filled, labels.masks, notes)


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
    if sorted(counts)[1] == 1:
        raise InputError(
            f"{name} is a line one pixel wide (on {found} slices), so the plane of its slices cannot be told; "
            "outline the area of the structure."
        )
    raise InputError(
        f"{name} is non-empty on {found} slices, so its annotated slices do not lie along one axis; "
        "keep outlines on a few slices of one orientation."
    )


def _mostly_lines(slices: np.ndarray) -> bool:
    """Whether most non-empty slices are one pixel wide, as where a plane of another orientation crosses them."""
    filled = slices[slices.any(axis=(1, 2))]
    extents = np.minimum(filled.any(axis=1).sum(axis=1), filled.any(axis=2).sum(axis=1))
    return np.count_nonzero(extents <= 1) > len(filled) / 2
