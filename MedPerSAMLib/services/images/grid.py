"""The grid of voxels in the patient that an image file describes, and how slices lie in it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import SimpleITK

TOLERANCE = 0.1
"""Two grids are the same where no corner differs by more than this share of the smallest voxel edge."""

PLANES = ("sagittal", "coronal", "axial")


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a volume lie in the patient; in SimpleITK's order (i, j, k) and left-posterior-superior mm.

    Attributes:
        size: voxels along (i, j, k).
        spacing: mm between voxels along the same.
        origin: mm of the centre of voxel (0, 0, 0).
        direction: nine numbers, row by row; its columns are the directions of i, j and k.
    """

    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, ...]

    @classmethod
    def of(cls, image: SimpleITK.Image) -> Grid:
        """The grid of a three-dimensional image."""
        return cls(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())

    def matches(self, other: Grid) -> bool:
        """Whether both have the same voxels at the same places."""
        return self.size == other.size and self.offset_of(other) == (0, 0, 0)

    def offset_of(self, part: Grid) -> tuple[int, int, int] | None:
        """The (i, j, k) in this grid of the first voxel of ``part``; None where their voxels do not coincide."""
        to_index = np.linalg.inv(self._steps())
        offset = to_index @ (np.array(part.origin) - np.array(self.origin))
        whole = np.round(offset)
        corners = np.array(list(product(*((0, n - 1) for n in part.size))), float)
        mine = (whole + corners) @ self._steps().T + self.origin
        theirs = corners @ part._steps().T + part.origin
        if np.abs(mine - theirs).max() > TOLERANCE * min(self.spacing):
            return None
        return tuple(int(n) for n in whole)

    def describe(self) -> str:
        """Size, spacing and origin for a message."""
        size = " x ".join(str(n) for n in self.size)
        spacing = " x ".join(f"{s:.4g}" for s in self.spacing)
        origin = ", ".join(f"{o:.1f}" for o in self.origin)
        tilt = "" if np.allclose(self.direction, np.eye(3).ravel(), atol=1e-3) else f", directions {self._directions()}"
        return f"{size} voxels of {spacing} mm from ({origin}){tilt}"

    def plane(self, axis: int) -> str:
        """What a radiologist calls slices along array axis ``axis``: axial, coronal or sagittal (the nearest)."""
        column = np.array(self.direction).reshape(3, 3)[:, 2 - axis]
        return PLANES[int(np.abs(column).argmax())]

    def axis_of(self, plane: str) -> int:
        """The array axis along which slices of a plane (one of PLANES) lie, or lie most nearly."""
        return 2 - int(np.abs(np.array(self.direction).reshape(3, 3)[PLANES.index(plane)]).argmax())

    def along(self, axis: int) -> Geometry:
        """This grid with slices along array axis ``axis`` (0 for k, 1 for j, 2 for i)."""
        return Geometry(self, axis)

    def _steps(self) -> np.ndarray:
        """Columns: millimetres of one step along i, j, k."""
        return np.array(self.direction).reshape(3, 3) * self.spacing

    def _directions(self) -> str:
        return " ".join(f"{d:.2f}" for d in self.direction)


@dataclass(frozen=True)
class Geometry:
    """A grid whose slices are taken along one of its axes: the way to slices and exactly back.

    Attributes:
        grid: the file's grid.
        axis: array axis, in NumPy's order (k, j, i), along which the slices lie.
    """

    grid: Grid
    axis: int

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres per step along (slices, rows, columns)."""
        spacing = list(self.grid.spacing[::-1])
        return (spacing.pop(self.axis), *spacing)

    @property
    def plane(self) -> str:
        """axial, coronal or sagittal."""
        return self.grid.plane(self.axis)

    @property
    def directions(self) -> str:
        """The patient directions that rows and columns of the slices run towards, such as "PL"."""
        letters = ""
        for other in (axis for axis in range(3) if axis != self.axis):
            column = np.array(self.grid.direction).reshape(3, 3)[:, 2 - other]
            nearest = int(np.abs(column).argmax())
            letters += ("RL", "AP", "IS")[nearest][int(column[nearest] > 0)]
        return letters

    def as_seen(self, plane: np.ndarray) -> np.ndarray:
        """A (rows, columns, ...) slice turned as radiologists see it: head or front up, patient's right or front left."""
        axes = [axis for axis in range(3) if axis != self.axis]
        for position, axis in enumerate(axes):
            column = np.array(self.grid.direction).reshape(3, 3)[:, 2 - axis]
            main = int(np.abs(column).argmax())
            # Directions are to the patient's left, back and head; only towards the head is against the reading order.
            if (column[main] < 0) != (main == 2):
                plane = np.flip(plane, position)
        return plane

    def to_slices(self, array: np.ndarray) -> np.ndarray:
        """An array (k, j, i) as a view (slices, rows, columns)."""
        return np.moveaxis(array, self.axis, 0)

    def to_file_order(self, slices: np.ndarray) -> np.ndarray:
        """An array (slices, rows, columns) as (k, j, i), contiguous."""
        return np.ascontiguousarray(np.moveaxis(slices, 0, self.axis))

    def to_image(self, slices: np.ndarray) -> SimpleITK.Image:
        """An image of the file's exact geometry from (slices, rows, columns), or (..., layers) for several layers."""
        image = SimpleITK.GetImageFromArray(self.to_file_order(slices), isVector=slices.ndim == 4)
        image.SetSpacing(self.grid.spacing)
        image.SetOrigin(self.grid.origin)
        image.SetDirection(self.grid.direction)
        return image
