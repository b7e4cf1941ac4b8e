"""The picture of a training: loss and validation Dice over its steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from MedPerSAMLib.core.learn.fitted import CurvePoint
from MedPerSAMLib.services.pictures.canvas import GLYPH, Canvas

_GREY, _FAINT = (0.62, 0.64, 0.67), (0.25, 0.26, 0.29)
_DICE, _LOSS = (0.30, 0.69, 0.31), (0.95, 0.77, 0.06)


@dataclass(frozen=True)
class CurveLayout:
    """Sizes in pixels.

    Attributes:
        rows: height of the plot.
        columns: width of the plot.
        gap: around it.
    """

    rows: int = 260
    columns: int = 620
    gap: int = 10


def training_curve(curve: Sequence[CurvePoint], title: str, layout: CurveLayout = CurveLayout()) -> Canvas:
    """Draw the checks of a training: Dice from 0 to 1, loss from 0 to its largest value.

    Args:
        curve: at least one check.
        title: one line.
        layout: sizes.
    """
    left, top = 5 * GLYPH[1] + layout.gap, 2 * GLYPH[0] + 2 * layout.gap
    bottom, right = top + layout.rows, left + layout.columns
    canvas = Canvas(bottom + GLYPH[0] + 2 * layout.gap, right + 5 * GLYPH[1] + 2 * layout.gap)
    canvas.text(title, layout.gap, layout.gap)
    most, last = max(max(point.loss for point in curve), 1e-6), max(point.step for point in curve)
    at = canvas.text("validation Dice", layout.gap + GLYPH[0], layout.gap, _DICE)
    canvas.text("training loss", layout.gap + GLYPH[0], at + 2 * GLYPH[1], _LOSS)
    for level in (0.0, 0.25, 0.5, 0.75, 1.0):
        row = bottom - level * layout.rows
        canvas.line(np.array([[row, left], [row, right]]), _FAINT, 1)
        canvas.text(f"{level:.2f}", int(row) - GLYPH[0] // 2, layout.gap, _DICE)
        canvas.text(f"{level * most:.2f}", int(row) - GLYPH[0] // 2, right + layout.gap, _LOSS)
    for colour, heights in ((_LOSS, [p.loss / most for p in curve]), (_DICE, [p.dice for p in curve])):
        places = [[bottom - h * layout.rows, left + p.step / last * layout.columns] for h, p in zip(heights, curve)]
        canvas.line(np.array(places * 2 if len(places) == 1 else places), colour, 2)
        for row, column in places:
            canvas.box(round(row) - 2, round(column) - 2, 5, 5, colour)
    canvas.text("0", bottom + layout.gap, left, _GREY)
    end = f"{last} steps"
    canvas.text(end, bottom + layout.gap, right - len(end) * GLYPH[1], _GREY)
    return canvas
