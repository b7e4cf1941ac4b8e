"""The working grid: slices resampled to square pixels of a bounded number, on which warps and appearance are computed.

Square pixels make lengths in pixels mean the same along rows and columns, also for sagittal and coronal references; the
bound keeps a 512 x 512 slice as fast as a 256 x 256 one. Results go back to the volume's own grid with sub-pixel accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

LONGEST_SIDE = 288
"""Most pixels along the longer side of a working slice."""


@dataclass(frozen=True)
class WorkingGrid:
    """Geometry of working slices of ``shape`` that cover native slices of ``native_shape``.

    Attributes:
        native_shape: (rows, columns) of the volume's slices.
        shape: (rows, columns) of the working slices.
        pixel: millimetres per working pixel, the same along both axes.
    """

    native_shape: tuple[int, int]
    shape: tuple[int, int]
    pixel: float

    @classmethod
    def of(
        cls, native_shape: tuple[int, int], spacing: tuple[float, float], longest: int = LONGEST_SIDE
    ) -> WorkingGrid:
        """The grid for slices of ``native_shape`` with ``spacing`` mm per (row, column)."""
        size = [n * s for n, s in zip(native_shape, spacing)]
        pixel = max(min(spacing), max(size) / longest)
        shape = tuple(max(1, round(length / pixel)) for length in size)
        return cls(tuple(native_shape), shape, pixel)

    @property
    def factors(self) -> tuple[float, float]:
        """Working pixels per native pixel, (row, column)."""
        return self.shape[0] / self.native_shape[0], self.shape[1] / self.native_shape[1]

    def from_native(self, stack: np.ndarray) -> np.ndarray:
        """(n, rows, columns) of any number type -> (n, *shape) float32, averaged where the working pixel is larger."""
        if self.shape == self.native_shape:
            return np.asarray(stack, np.float32)
        return _resize(stack, self.shape)

    def to_native(self, stack: np.ndarray) -> np.ndarray:
        """(n, *shape) -> (n, rows, columns) float32, bilinear."""
        if self.shape == self.native_shape:
            return np.asarray(stack, np.float32)
        return _resize(stack, self.native_shape)

    def mask_from_native(self, mask: np.ndarray) -> np.ndarray:
        """(rows, columns) bool -> (*shape) bool; a structure too thin to fill half a pixel keeps its fullest pixels."""
        coverage = self.from_native(mask[None])[0]
        return coverage >= min(0.5, float(coverage.max()))


def _resize(stack: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Slice by slice, so that the float copies stay small."""
    resized = np.empty((len(stack), *shape), np.float32)
    for index, plane in enumerate(stack):
        image = torch.from_numpy(np.ascontiguousarray(plane, np.float32))[None, None]
        resized[index] = F.interpolate(image, shape, mode="bilinear", align_corners=False, antialias=True)[0, 0].numpy()
    return resized
