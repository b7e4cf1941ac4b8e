"""The square frame in which SAM sees a slice, and the way back.

A frame is a square window on the slice, isotropic in millimetres. The full frame puts the slice's longer side on the
frame's side and pads bottom and right, as SAM was trained; a zoomed frame is centred on a structure, which gives small
structures more pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F


@dataclass(frozen=True)
class Frame:
    """A square window of ``size`` x ``size`` frame pixels on a slice.

    Attributes:
        size: frame pixels along each side.
        origin: (row, column) of the frame's top left corner, in slice pixels from the slice's top left corner.
        step: (row, column) slice pixels per frame pixel.
    """

    size: int
    origin: tuple[float, float]
    step: tuple[float, float]

    @classmethod
    def full(cls, shape: tuple[int, int], spacing: tuple[float, float], size: int) -> Frame:
        """The whole slice of ``shape`` (rows, columns) with ``spacing`` mm, padded at the bottom and right."""
        millimetres = max(shape[0] * spacing[0], shape[1] * spacing[1]) / size
        return cls(size, (0.0, 0.0), (millimetres / spacing[0], millimetres / spacing[1]))

    @classmethod
    def around(
        cls, centre: tuple[float, float], side_mm: float, spacing: tuple[float, float], size: int
    ) -> Frame:
        """A window of ``side_mm`` millimetres around ``centre`` (row, column in slice pixels)."""
        step = (side_mm / size / spacing[0], side_mm / size / spacing[1])
        return cls(size, (centre[0] - step[0] * size / 2, centre[1] - step[1] * size / 2), step)

    def sample(self, images: torch.Tensor, pad: float = 0.0) -> torch.Tensor:
        """Slices (B, C, rows, columns) -> frames (B, C, size, size), bilinear; ``pad`` outside the slice.

        Where a frame pixel covers several slice pixels the slice is smoothed first, so that fine texture does not alias.
        """
        smooth = [max(1, round(s)) for s in self.step]
        if max(smooth) > 1:
            images = _box_smooth(images, smooth)
        rows, columns = images.shape[-2:]
        y = self._slice_coordinates(0, images.device) / rows * 2 - 1
        x = self._slice_coordinates(1, images.device) / columns * 2 - 1
        grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1).expand(len(images), -1, -1, -1)
        frames = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
        outside = ((y.abs() > 1)[:, None] | (x.abs() > 1)[None, :]).expand_as(frames)
        return frames.masked_fill(outside, pad)

    def restore(self, frames: torch.Tensor, shape: tuple[int, int], outside: float) -> torch.Tensor:
        """Frames (B, C, f, f) of any resolution f -> slices (B, C, *shape), bilinear; ``outside`` beyond the frame."""
        axes = []
        for axis in (0, 1):
            centres = torch.arange(shape[axis], device=frames.device, dtype=torch.float32) + 0.5
            axes.append((centres - self.origin[axis]) / (self.step[axis] * self.size) * 2 - 1)
        grid = torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], dim=-1).expand(len(frames), -1, -1, -1)
        slices = F.grid_sample(frames, grid, mode="bilinear", padding_mode="border", align_corners=False)
        beyond = ((axes[0].abs() > 1)[:, None] | (axes[1].abs() > 1)[None, :]).expand_as(slices)
        return slices.masked_fill(beyond, outside)

    def to_frame(self, points: np.ndarray) -> np.ndarray:
        """(..., 2) (row, column) slice coordinates, pixel centres at .5 -> (..., 2) (x, y) frame coordinates."""
        return ((np.asarray(points, float) - self.origin) / self.step)[..., ::-1]

    def _slice_coordinates(self, axis: int, device: torch.device) -> torch.Tensor:
        return self.origin[axis] + (torch.arange(self.size, device=device, dtype=torch.float32) + 0.5) * self.step[axis]


def zoom_side_mm(extent_mm: tuple[float, float], share: float) -> float:
    """Side of the frame in which a box of ``extent_mm`` (rows, columns) spans ``share`` of the side."""
    return max(extent_mm) / share


def mask_extent(mask: np.ndarray) -> tuple[tuple[float, float], tuple[float, float]]:
    """Centre and extent, both (row, column) in pixels, of the tight box of a non-empty (rows, columns) mask."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    low, high = (rows[0], columns[0]), (rows[-1] + 1, columns[-1] + 1)
    return ((low[0] + high[0]) / 2, (low[1] + high[1]) / 2), (float(high[0] - low[0]), float(high[1] - low[1]))


def _box_smooth(images: torch.Tensor, width: list[int]) -> torch.Tensor:
    width = [w + 1 - w % 2 for w in width]
    padding = (width[1] // 2, width[1] // 2, width[0] // 2, width[0] // 2)
    return F.avg_pool2d(F.pad(images, padding, mode="replicate"), tuple(width), stride=1)


