"""How far a slice's mask can be trusted, 0..1, without knowing the truth (METHOD.md section 1 [V], label-free confidence)."""

from __future__ import annotations

import math
from collections.abc import Mapping

EXPONENTS: Mapping[str, float] = {"cycle": 0.5, "contrast": 0.25, "predicted_iou": 1.0, "agreement": 0.1}
"""Powers of the signs in the product; a sign that a slice lacks counts as 1.

Chosen by the rank correlation with true Dice on generated abdomens (seeds 1 to 3 of ``sample.phantom``, fifteen structures; printed by
``Testing/benchmarks/confidence.py``): 0.862; without the agreement 0.863, with two and a half times its power 0.860; with cycle
and contrast alone 0.792.
"""

_LEAST, _MOST = 0.01, 0.99
_AT_THE_END, _FAR_BEYOND = 0.2, 0.5


def slice_confidence(signs: Mapping[str, float], evidence: float) -> float:
    """Confidence in the mask of a slice that holds the structure.

    Args:
        signs: in 0..1: ``cycle`` Dice of the mask carried back with the mask it came from, ``contrast`` of its appearance
            relative to the annotated slice, ``predicted_iou``, SAM's own, and ``agreement``, Dice of SAM's mask with the carried one.
        evidence: log-odds that the structure is present, of which the distance of SAM's features from the annotated slice's is part.
    """
    product = math.prod(max(_LEAST, signs[name]) ** power for name, power in EXPONENTS.items() if name in signs)
    return min(_MOST, max(_LEAST, product / (1 + math.exp(-(evidence + 1.0)))))


def absence_confidence(beyond: float) -> float:
    """Confidence that a slice holds nothing, ``beyond`` radii of the structure past its end: ends are the doubtful part."""
    return _FAR_BEYOND - (_FAR_BEYOND - _AT_THE_END) * math.exp(-max(0.0, beyond))
