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
        """The closer window that holds most of what was found in the whole slices.

        Its size is that of the training cases: what is found is too rough, and at times too wrong, to tell a size.

        Args:
            found: (slices, rows, columns), 0..1.
            spacing: millimetres per (row, column).
            size: side of the frame in frame pixels.

        Returns:
            the window, the same for all slices; None where there is none, or nothing was found.
        """
        whole = max(n * s for n, s in zip(found.shape[1:], spacing))
        if self.closer_mm is None or self.closer_mm >= whole:
            return None
        flat = found.sum(axis=0, dtype=np.float64)
        reach = [max(1, round(self.closer_mm / MARGIN / s)) for s in spacing]
        gathered = ndimage.uniform_filter(flat, reach, mode="constant")
        if gathered.max() <= 0:
            return None
        # The middle of what the best window holds.
        best = np.unravel_index(int(gathered.argmax()), flat.shape)
        lows = [max(0, b - r // 2) for b, r in zip(best, reach)]
        part = flat[tuple(slice(low, low + r) for low, r in zip(lows, reach))]
        centre = [c + low + 0.5 for c, low in zip(ndimage.center_of_mass(part), lows)]
        return Frame.around((centre[0], centre[1]), self.closer_mm, spacing, size)


def _extent_mm(flat: np.ndarray, spacing: tuple[float, float]) -> float:
    _, extent = mask_extent(flat)
    return max(e * s for e, s in zip(extent, spacing))
