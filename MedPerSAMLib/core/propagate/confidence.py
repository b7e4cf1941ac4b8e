"""How far a slice's mask can be trusted, 0..1, without knowing the truth (METHOD.md section 1 [V], label-free confidence)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

EXPONENTS: Mapping[str, float] = {"cycle": 1.0, "kept": 0.5, "agreement": 0.5, "predicted_iou": 0.5}
"""Weight of each sign in the product of one step; signs that a slice lacks count as 1."""


def step_confidence(signs: Mapping[str, float]) -> float:
    """Confidence of one step of a chain.

    Args:
        signs: in 0..1: ``cycle`` Dice of the mask carried back with the mask it came from, ``kept`` Dice of the corrected
            with the carried mask, ``agreement`` Dice of SAM's with the carried mask, ``predicted_iou`` SAM's own estimate.
    """
    return float(
        np.prod([np.clip(signs[name], 0.01, 1.0) ** power for name, power in EXPONENTS.items() if name in signs])
    )


def chain_confidence(steps: list[float], evidence: list[float]) -> list[float]:
    """Confidence after each step of a chain: errors add up, so it falls from step to step.

    Args:
        steps: confidence of each step.
        evidence: log-odds of presence on each slice.
    """
    so_far, result = 1.0, []
    for step, log_odds in zip(steps, evidence):
        so_far *= step**0.25
        presence = 1 / (1 + np.exp(-(log_odds + 1.0)))
        result.append(float(np.clip(so_far * presence**0.5 * step**0.5, 0.01, 0.99)))
    return result
