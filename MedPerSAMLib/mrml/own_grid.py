"""Segments on a grid of their own, whose axes run along the volume's: finer, coarser, flipped or permuted voxels.

A voxel of the volume consists of the segment's voxels whose centres lie in it, and is in the segment if any of these
is: so whatever the user drew, on whichever of the finer slices in a thick one, is found and is never written over. A
mask that was written reads back the same. Where the grid is coarser and no centre lies in a voxel, the nearest one
counts.

Slicer's resampling asks for the nearest voxel instead, and with even oversampling two are equally near: which of them
it takes changes with the extent of the segment's array, so that a drawing was there before a run and not after it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer

from MedPerSAMLib.mrml.shared_grid import Extent, label_array

_OFF_AXIS = 0.05
"""Voxels by which an axis may leave the other grid's over the whole volume and still count as parallel."""

_TIE = 1e-3
"""Voxels: a centre this close to a voxel's border lies on it, and belongs to the voxel that begins there."""


@dataclass(frozen=True)
class OwnGrid:
    """How a segment's voxels make up the volume's; array order (k, j, i) throughout.

    Attributes:
        axes: volume axis -> the segment's axis along it.
        first: per volume axis, for each of its indices the first of the segment's indices in it.
        last: the last of them.
        filled: whether there is one; where not, ``first`` and ``last`` are the nearest.
    """

    axes: tuple[int, int, int]
    first: tuple[np.ndarray, np.ndarray, np.ndarray]
    last: tuple[np.ndarray, np.ndarray, np.ndarray]
    filled: tuple[np.ndarray, np.ndarray, np.ndarray]

    @classmethod
    def of(cls, volume_to_labels: np.ndarray, shape: tuple[int, int, int]) -> OwnGrid | None:
        """The grid of the (4, 4) matrix from the volume's (i, j, k) to the segment's; None if its axes are turned.

        Args:
            volume_to_labels: as :func:`shared_grid.between_grids` gives it.
            shape: (k, j, i) of the volume.
        """
        steps, shift = volume_to_labels[2::-1, 2::-1], volume_to_labels[2::-1, 3]  # now (k, j, i)
        axes = tuple(int(a) for a in np.abs(steps).argmax(axis=0))
        off = np.abs(steps) * np.array(shape)
        off[list(axes), range(3)] = 0
        if len(set(axes)) < 3 or off.max() > _OFF_AXIS:
            return None
        first, last, filled = [], [], []
        for axis, own in enumerate(axes):
            index, step = np.arange(shape[axis]), steps[own, axis]
            middle = step * index + shift[own]
            low, high = (np.ceil(middle + side * abs(step) / 2 - _TIE).astype(int) for side in (-1, 1))
            nearest = np.ceil(middle - 0.5 - _TIE).astype(int)
            filled.append(low < high)
            first.append(np.where(low < high, low, nearest))
            last.append(np.where(low < high, high - 1, nearest))
        return cls(axes, tuple(first), tuple(last), tuple(filled))

    def covered(self, labels: slicer.vtkOrientedImageData) -> Extent | None:
        """The part of the volume in which the label image has voxels; None where that is nowhere."""
        ends = []
        for axis in (2, 1, 0):
            low, high = _stored(labels, self.axes[axis])
            inside = np.flatnonzero((self.last[axis] >= low) & (self.first[axis] <= high))
            if not len(inside):
                return None
            ends += [int(inside[0]), int(inside[-1])]
        return tuple(ends)

    def read(self, labels: slicer.vtkOrientedImageData, value: int, extent: Extent) -> np.ndarray:
        """(k, j, i) bool of the extent's size: the voxels of the volume in which a label ``value`` lies."""
        size = [extent[2 * (2 - axis) + 1] - extent[2 * (2 - axis)] + 1 for axis in range(3)]
        whole, bounds = np.moveaxis(label_array(labels), self.axes, (0, 1, 2)), []
        for axis in range(3):
            part = slice(extent[2 * (2 - axis)], extent[2 * (2 - axis) + 1] + 1)
            low, high = _stored(labels, self.axes[axis])
            first, last = np.maximum(self.first[axis][part], low), np.minimum(self.last[axis][part], high)
            there = np.flatnonzero(first <= last)
            if not len(there):
                return np.zeros(size, bool)
            bounds.append((there, first[there] - low, last[there] - low))
        box = tuple(slice(int(first.min()), int(last.max()) + 1) for _, first, last in bounds)
        inside = whole[box] == value
        for axis, (_, first, last) in enumerate(bounds):
            first, last = first - box[axis].start, last - box[axis].start
            reduced = inside.take(first, axis)
            for more in range(1, int((last - first).max()) + 1):
                reduced |= inside.take(np.minimum(first + more, last), axis)
            inside = reduced
        found = np.zeros(size, bool)
        found[np.ix_(*(there for there, _, _ in bounds))] = inside
        return found

    def spread(self, extent: Extent, change: np.ndarray) -> tuple[Extent, np.ndarray] | None:
        """A (k, j, i) bool of part of the volume on the segment's grid: its extent there and the bool.

        None where no voxel of the segment lies in that part.
        """
        ends: list[tuple[int, int]] = [(0, 0)] * 3
        for axis, own in enumerate(self.axes):
            part = slice(extent[2 * (2 - axis)], extent[2 * (2 - axis) + 1] + 1)
            filled = self.filled[axis][part]
            if not filled.any():
                return None
            first, last = self.first[axis][part][filled], self.last[axis][part][filled]
            counts = last - first + 1
            change = np.repeat(np.compress(filled, change, axis), counts, axis)
            if first[0] > first[-1]:
                change = np.flip(change, axis)
            ends[own] = (int(first.min()), int(last.max()))
        return tuple(end for own in (2, 1, 0) for end in ends[own]), np.moveaxis(change, (0, 1, 2), self.axes)


def _stored(labels: slicer.vtkOrientedImageData, axis: int) -> tuple[int, int]:
    """First and last index along an array axis."""
    return labels.GetExtent()[2 * (2 - axis) : 2 * (2 - axis) + 2]
