"""How distinct a structure looks in its annotated image: whether its looks alone would find it again in another one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from MedPerSAMLib.core.appearance import radius
from MedPerSAMLib.core.propagate.place import contrasts

_BRIGHTNESS = ((0.7, 1.0), (0.84, 0.85), (0.84, 1.15), (1.0, 1.0), (1.19, 0.85), (1.19, 1.15), (1.42, 1.0))
"""(exponent, factor) of the copies [I]."""


def distinctness(mask: np.ndarray, probability: np.ndarray) -> float:
    """How much less any other place of an image looks like a structure than its own place does, 0..1.

    Args:
        mask: (rows, columns) bool, where the structure lies; not empty.
        probability: (rows, columns) 0..1, how much each pixel looks like it.
    """
    scores, (down, right) = contrasts(mask, probability)
    elsewhere = np.hypot(down[:, None], right[None, :]) > 1.5 * radius(mask)
    own = scores[mask.shape[0] - 1, mask.shape[1] - 1]
    return float(np.clip(1 - scores[elsewhere].max() / max(own, 1e-6), 0, 1))


def distinct_looks(image: np.ndarray, mask: np.ndarray, probability: Callable[[np.ndarray], np.ndarray]) -> float:
    """Mean :func:`distinctness` over copies of an annotated image of other brightness, as other patients' images are.

    Looks that only brightness tells apart, as of two ventricles, do not hold in another image.

    Args:
        image: (rows, columns) or (rows, columns, 3) in 0..1.
        mask: (rows, columns) bool, where the structure lies; not empty.
        probability: gives, for such a copy, the (rows, columns) probability that each pixel looks like the structure.
    """
    copies = [np.clip(image**gamma * gain, 0, 1).astype(np.float32) for gamma, gain in _BRIGHTNESS]
    return float(np.mean([distinctness(mask, probability(copy)) for copy in copies]))
