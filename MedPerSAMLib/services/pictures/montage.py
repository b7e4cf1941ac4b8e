"""The picture of a propagated volume: slices with outlines, and the confidence of every slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from MedPerSAMLib.core.intensity import normalise_image, normalise_volume
from MedPerSAMLib.core.task import Propagation, Reference, Volume
from MedPerSAMLib.services.images.grid import Geometry
from MedPerSAMLib.services.images.structure import Structure
from MedPerSAMLib.services.pictures.canvas import GLYPH, Canvas, Colour, outlined

_GREY, _FAINT = (0.62, 0.64, 0.67), (0.25, 0.26, 0.29)


@dataclass(frozen=True)
class MontageLayout:
    """Sizes in pixels.

    Attributes:
        tiles: slices shown.
        columns: of tiles.
        tile: longest side of a tile.
        gap: between tiles.
        plot_rows: height of the confidence plot.
    """

    tiles: int = 8
    columns: int = 4
    tile: int = 280
    gap: int = 8
    plot_rows: int = 170


def volume_montage(
    volume: Volume,
    geometry: Geometry,
    structures: Sequence[Structure],
    references: Mapping[int, Reference],
    propagations: Mapping[int, Propagation],
    title: str,
    layout: MontageLayout = MontageLayout(),
) -> Canvas:
    """Draw annotated and propagated slices, and below them each structure's confidence over the slices.

    Args:
        volume: the grey volume.
        geometry: how its slices lie in the patient, so that they are shown the right way up.
        structures: what to draw, with their colours.
        references: label value -> annotated slices; a structure without any is left out.
        propagations: label value -> result.
        title: one line.
        layout: sizes.
    """
    annotated = sorted({k for reference in references.values() for k in reference.masks})
    shown = shown_slices(annotated, propagations, layout.tiles)
    rows_mm, columns_mm = (n * s for n, s in zip(volume.slice_shape, volume.spacing[1:]))
    scale = layout.tile / max(rows_mm, columns_mm)
    tile = (max(1, round(rows_mm * scale)), max(1, round(columns_mm * scale)))
    columns = min(layout.columns, len(shown))
    lines = -(-len(shown) // columns)
    step = (tile[0] + GLYPH[0] + layout.gap, tile[1] + layout.gap)
    width = max(columns * step[1] + layout.gap, 720)
    top = GLYPH[0] + 3 * layout.gap
    plot_top = top + lines * step[0] + layout.gap
    canvas = Canvas(plot_top + layout.plot_rows + 2 * GLYPH[0] + 4 * layout.gap, width)
    canvas.text(title, layout.gap, layout.gap)
    grey = normalise_volume(volume.array[shown])
    for number, k in enumerate(shown):
        row, column = top + number // columns * step[0], layout.gap + number % columns * step[1]
        masks = [(geometry.as_seen(propagations[s.value].mask[k]), s.colour) for s in structures]
        canvas.paste(outlined(geometry.as_seen(grey[number]), masks, tile), row, column)
        marked = k in annotated
        label = f"slice {k}" + (" (annotated)" if marked else "")
        canvas.text(label, row + tile[0], column, (1.0, 1.0, 1.0) if marked else _GREY)
    _plot(canvas, structures, references, propagations, plot_top, layout)
    return canvas


def shown_slices(annotated: Sequence[int], propagations: Mapping[int, Propagation], count: int) -> list[int]:
    """``count`` slices that show most: the annotated ones first, then evenly spaced over where structures are.

    Where there is no structure at all they are evenly spaced over the volume.
    """
    present = np.any([p.present for p in propagations.values()], axis=0)
    found = np.flatnonzero(present) if present.any() else np.arange(len(present))
    chosen = list(annotated[:count])
    others = [int(k) for k in found if k not in chosen]
    wanted = min(count - len(chosen), len(others))
    if wanted > 0:
        chosen += [others[i] for i in np.linspace(0, len(others) - 1, wanted).round().astype(int)]
    return sorted(set(chosen))


def _plot(canvas: Canvas, structures, references, propagations, top: int, layout: MontageLayout) -> None:
    """Confidence from 0 to 1 over all slices; a gap where the structure is absent, a tick where it is annotated."""
    left, right = 6 * GLYPH[1], canvas.pixels.shape[1] - 3 * layout.gap
    bottom = top + layout.plot_rows
    count = len(next(iter(propagations.values())).mask)
    for level in (0.0, 0.5, 1.0):
        row = bottom - level * layout.plot_rows
        canvas.line(np.array([[row, left], [row, right]]), _FAINT, 1)
        canvas.text(f"{level:.1f}", int(row) - GLYPH[0] // 2, layout.gap, _GREY)

    def column(k: float) -> float:
        return left + (right - left) * (k + 0.5) / count

    for k in np.unique(np.linspace(0, count - 1, 9).round().astype(int)):
        canvas.text(str(k), bottom + 4, int(column(k)) - GLYPH[1] * len(str(k)) // 2, _GREY)
    at = canvas.text("confidence of each slice:  ", bottom + GLYPH[0] + 2 * layout.gap, layout.gap, _GREY)
    for structure in structures:
        propagation = propagations[structure.value]
        for run in _runs(propagation.present & propagation.finished & np.isfinite(propagation.confidence)):
            points = np.array([[bottom - propagation.confidence[k] * layout.plot_rows, column(k)] for k in run])
            canvas.line(points if len(points) > 1 else np.repeat(points, 2, axis=0), structure.colour, 2)
        for k in references[structure.value].masks if structure.value in references else ():
            canvas.box(top - 3, round(column(k)) - 3, 7, 7, structure.colour)
        row = bottom + GLYPH[0] + 2 * layout.gap
        canvas.box(row + 3, at, 10, 10, structure.colour)
        at = canvas.text(structure.name, row, at + 14) + 2 * GLYPH[1]


def _runs(flags: np.ndarray) -> list[np.ndarray]:
    """Indices of each unbroken run of True."""
    indices = np.flatnonzero(flags)
    return np.split(indices, np.flatnonzero(np.diff(indices) > 1) + 1) if len(indices) else []


def picture_montage(
    shown: Sequence[tuple[str, np.ndarray, Mapping[int, np.ndarray]]],
    colours: Mapping[int, Colour],
    layout: MontageLayout = MontageLayout(),
) -> Canvas:
    """Draw 2D images, each with its caption and outlined masks.

    Args:
        shown: (caption, (rows, columns[, 3]) image, label value -> (rows, columns) bool mask); the first ones are drawn,
            as many as the layout has tiles.
        colours: label value -> colour.
        layout: sizes.
    """
    shown = shown[: layout.tiles]
    columns = min(layout.columns, len(shown))
    step = (layout.tile + GLYPH[0] + layout.gap, layout.tile + layout.gap)
    canvas = Canvas(-(-len(shown) // columns) * step[0] + layout.gap, columns * step[1] + layout.gap)
    for number, (caption, image, masks) in enumerate(shown):
        row, column = layout.gap + number // columns * step[0], layout.gap + number % columns * step[1]
        scale = layout.tile / max(image.shape[:2])
        shape = (max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale)))
        outlines = [(mask, colours[value]) for value, mask in masks.items()]
        canvas.paste(outlined(normalise_image(image), outlines, shape), row, column)
        canvas.text(caption[: layout.tile // GLYPH[1]], row + layout.tile, column, _GREY)
    return canvas
