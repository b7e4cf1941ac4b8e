"""A colour image to draw on: pictures, lines, text."""

from __future__ import annotations

import functools
import itertools
import os
from pathlib import Path

import numpy as np
import SimpleITK
from scipy import ndimage

from MedPerSAMLib.errors import OutputError

Colour = tuple[float, float, float]
"""Red, green, blue in 0..1."""

GLYPH = (16, 8)
"""(rows, columns) of a character."""


class Canvas:
    """A (rows, columns, 3) float32 image in 0..1, drawn on in place.

    Args:
        rows, columns: size in pixels.
        background: its colour.
    """

    def __init__(self, rows: int, columns: int, background: Colour = (0.07, 0.08, 0.10)) -> None:
        self.pixels = np.empty((rows, columns, 3), np.float32)
        self.pixels[:] = background

    def paste(self, image: np.ndarray, row: int, column: int) -> None:
        """Put a (rows, columns, 3) image with its top left corner at (row, column); what sticks out is cut."""
        target = self.pixels[row : row + image.shape[0], column : column + image.shape[1]]
        target[:] = image[: target.shape[0], : target.shape[1]]

    def text(self, text: str, row: int, column: int, colour: Colour = (0.9, 0.9, 0.9)) -> int:
        """Write one line with its top left corner at (row, column); returns the column after it."""
        for character in text:
            # The font has ASCII only; names in other scripts stay recognisable by their colour.
            code = ord(character) - 32 if 32 <= ord(character) < 127 else ord("?") - 32
            glyph = _font()[:, code * GLYPH[1] : (code + 1) * GLYPH[1], None]
            target = self.pixels[row : row + GLYPH[0], column : column + GLYPH[1]]
            glyph = glyph[: target.shape[0], : target.shape[1]]
            target[:] = target * (1 - glyph) + glyph * np.array(colour, np.float32)
            column += GLYPH[1]
        return column

    def line(self, points: np.ndarray, colour: Colour, width: float = 1.5) -> None:
        """Join (n, 2) (row, column) points by an antialiased line."""
        for start, end in itertools.pairwise(points):
            low = np.maximum(np.floor(np.minimum(start, end) - width - 1), 0).astype(int)
            high = np.ceil(np.maximum(start, end) + width + 2).astype(int)
            target = self.pixels[low[0] : high[0], low[1] : high[1]]
            if target.size:
                rows, columns = np.mgrid[low[0] : low[0] + target.shape[0], low[1] : low[1] + target.shape[1]]
                cover = _cover(np.stack([rows, columns], axis=-1), np.asarray(start), np.asarray(end), width)
                target[:] = target * (1 - cover) + cover * np.array(colour, np.float32)

    def box(self, row: int, column: int, rows: int, columns: int, colour: Colour) -> None:
        """Fill a rectangle."""
        self.pixels[row : row + rows, column : column + columns] = colour

    def save(self, path: str | Path) -> None:
        """Write a PNG, whole or not at all.

        Raises:
            OutputError: it cannot be written there.
        """
        path = Path(path)
        temporary = path.with_name(f".{path.stem}.{os.getpid()}.png")
        image = SimpleITK.GetImageFromArray((self.pixels.clip(0, 1) * 255).round().astype(np.uint8), isVector=True)
        try:
            SimpleITK.WriteImage(image, str(temporary), useCompression=True)
            os.replace(temporary, path)
        except (RuntimeError, OSError) as error:
            raise OutputError(f"The picture {path} cannot be written; free space or choose another folder.") from error
        finally:
            temporary.unlink(missing_ok=True)


def outlined(image: np.ndarray, masks: list[tuple[np.ndarray, Colour]], shape: tuple[int, int]) -> np.ndarray:
    """A slice enlarged to ``shape`` with the outlines of masks.

    Args:
        image: (rows, columns) or (rows, columns, 3) in 0..1.
        masks: (rows, columns) bool masks of the image and their colours.
        shape: (rows, columns) of the result; the image's proportions are the caller's business.

    Returns:
        (*shape, 3) float32.
    """
    colour = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
    picture = np.stack([_resized(colour[..., c], shape) for c in range(3)], axis=-1)
    for mask, tint in masks:
        if mask.any():
            inside = _resized(ndimage.gaussian_filter(mask.astype(np.float32), 0.5), shape) > 0.5
            # Distance to the outline on either side, in pixels of the picture.
            distance = np.where(inside, ndimage.distance_transform_edt(inside), ndimage.distance_transform_edt(~inside))
            cover = np.clip(2.0 - distance, 0, 1)[..., None] * inside.any()
            picture = picture * (1 - cover) + cover * np.array(tint, np.float32)
    return picture


def _resized(plane: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Bilinear, pixel centres aligned; smoothed first where it shrinks."""
    factors = [old / new for old, new in zip(plane.shape, shape)]
    smooth = ndimage.gaussian_filter(np.asarray(plane, np.float32), [max(0.0, (f - 1) / 2) for f in factors])
    grid = np.meshgrid(*((np.arange(new) + 0.5) * f - 0.5 for new, f in zip(shape, factors)), indexing="ij")
    return ndimage.map_coordinates(smooth, grid, order=1, mode="nearest")


def _cover(pixels: np.ndarray, start: np.ndarray, end: np.ndarray, width: float) -> np.ndarray:
    """Share of each pixel that lies within half the width of a segment."""
    along = end - start
    length = float(along @ along)
    share = np.clip((pixels - start) @ along / length, 0, 1) if length else np.zeros(pixels.shape[:2])
    distance = np.linalg.norm(pixels - (start + share[..., None] * along), axis=-1)
    return np.clip(width / 2 + 0.5 - distance, 0, 1)[..., None].astype(np.float32)


@functools.cache
def _font() -> np.ndarray:
    """(rows, 95 characters' columns) in 0..1: DejaVu Sans Mono, ASCII 32 to 126."""
    image = SimpleITK.ReadImage(str(Path(__file__).with_name("font.png")))
    return SimpleITK.GetArrayFromImage(image).astype(np.float32) / 255
