"""Which window of a slice a learned part looks at: the whole slice, or a closer one around where the structures lie."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from scipy import ndimage

from MedPerSAMLib.core.frame import Frame, mask_extent

MARGIN = 1.4
"""Side of the closer window, in extents of the structures."""

_WORTH = 0.8
"""A closer window that is not this much smaller than the whole slice is not worth a second look."""

_TOLERANCE = 1.25
"""How far the window of a new case may differ in size from the training cases'."""


@dataclass(frozen=True)
class View:
    """What was learned of the structures' size.

    Attributes:
        closer_mm: side of the closer window, in millimetres; None where the whole slice is as good.
    """

    closer_mm: float | None

    @classmethod
    def of(cls, labels: list[np.ndarray], spacings: list[tuple[float, float]]) -> View:
        """From the (slices, rows, columns) labels of the training cases and their millimetres per (row, column)."""
        sides = [MARGIN * _extent_mm(label.any(axis=0), spacing) for label, spacing in zip(labels, spacings)]
        wholes = [max(n * s for n, s in zip(label.shape[1:], spacing)) for label, spacing in zip(labels, spacings)]
        worth = np.median([side / whole for side, whole in zip(sides, wholes)]) < _WORTH
        return cls(float(np.median(sides)) if worth else None)

    @classmethod
    def from_values(cls, values: dict) -> View:
        """Back from :meth:`values`."""
        return cls(**values)

    def values(self) -> dict[str, float | None]:
        """As plain JSON values."""
        return asdict(self)

    def closer(self, found: np.ndarray, spacing: tuple[float, float], size: int) -> Frame | None:
        """The closer window around what was found in the whole slices.

        Args:
            found: (slices, rows, columns) bool.
            spacing: millimetres per (row, column).
            size: side of the frame in frame pixels.

        Returns:
            the window, the same for all slices; None where there is none, or nothing was found.
        """
        if self.closer_mm is None or not found.any():
            return None
        flat = _largest_parts(found).any(axis=0)
        centre, _ = mask_extent(flat)
        side = np.clip(MARGIN * _extent_mm(flat, spacing), self.closer_mm / _TOLERANCE, self.closer_mm * _TOLERANCE)
        whole = max(n * s for n, s in zip(found.shape[1:], spacing))
        return None if side >= whole else Frame.around(centre, float(side), spacing, size)


def _extent_mm(flat: np.ndarray, spacing: tuple[float, float]) -> float:
    _, extent = mask_extent(flat)
    return max(e * s for e, s in zip(extent, spacing))


def _largest_parts(found: np.ndarray, least: float = 0.2) -> np.ndarray:
    """The components that hold at least a fifth of the largest one's voxels."""
    labels, count = ndimage.label(found)
    if count <= 1:
        return found
    sizes = ndimage.sum_labels(found, labels, np.arange(count + 1))
    keep = sizes >= least * sizes.max()
    keep[0] = False
    return keep[labels]
