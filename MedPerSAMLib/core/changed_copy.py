"""Changed copies of an annotated image: a rough stand-in for the images of other patients, with a known mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage


@dataclass(frozen=True)
class ChangeSettings:
    """How much a copy differs; each amount is drawn uniformly from minus to plus it [I].

    Attributes:
        turn: degrees.
        scale: natural logarithm of the size.
        shift: part of the image's side.
        gamma: natural logarithm of the exponent on intensities.
        gain: relative change of intensities.
    """

    turn: float = 45.0
    scale: float = 0.5
    shift: float = 0.15
    gamma: float = 0.35
    gain: float = 0.15


def changed_copy(
    image: np.ndarray, mask: np.ndarray, settings: ChangeSettings, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A turned, scaled, shifted copy of another brightness; what lies beyond the image repeats its border, because a
    mirror image would show the structure twice.

    Args:
        image: (rows, columns) or (rows, columns, 3) float in 0..1.
        mask: (rows, columns) bool.
        settings: how much it differs.
        rng: of the amounts.

    Returns:
        The copy, float32 in 0..1, and its mask, both of the same shapes; the mask may be empty.
    """
    turn, scale, gamma, gain = rng.uniform(-1, 1, 4) * (
        np.deg2rad(settings.turn), settings.scale, settings.gamma, settings.gain
    )
    shape = np.array(mask.shape)
    shift = rng.uniform(-settings.shift, settings.shift, 2) * shape
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) / np.exp(scale)
    offset = shape / 2 - matrix @ (shape / 2 + shift)

    def moved(plane: np.ndarray, beyond: str) -> np.ndarray:
        return ndimage.affine_transform(plane.astype(np.float32), matrix, offset, order=1, mode=beyond)

    channels = image[..., None] if image.ndim == 2 else image
    copy = np.stack([moved(channel, "nearest") for channel in np.moveaxis(channels, -1, 0)], axis=-1)
    copy = np.clip(np.clip(copy, 0, 1) ** np.exp(gamma) * (1 + gain), 0, 1).astype(np.float32)
    return copy.reshape(image.shape), moved(mask, "constant") > 0.5
