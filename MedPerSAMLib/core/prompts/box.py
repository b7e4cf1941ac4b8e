"""g_box: the box prompt of a mask (METHOD.md section 1, Prompts)."""

from __future__ import annotations

import numpy as np


def box_prompt(mask: np.ndarray, scale: float, grow: float = 0.07, least_pixels: float = 2.0) -> np.ndarray:
    """The tight box of a mask, grown on each side.

    Args:
        mask: (f, f) bool, not empty.
        scale: frame pixels per mask pixel.
        grow: part of the box's longer side added on each side.
        least_pixels: frame pixels added on each side at least.

    Returns:
        (4,) float32 (x0, y0, x1, y1) in frame pixels, inside the frame.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32) * scale
    margin = max(grow * max(box[2] - box[0], box[3] - box[1]), least_pixels)
    return np.clip(box + np.array([-margin, -margin, margin, margin]), 0, mask.shape[0] * scale).astype(np.float32)
