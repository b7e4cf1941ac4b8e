"""How well products of a slice's signs rank slices by their true Dice, on generated abdomens: from this the confidence is chosen.

Usage: ``python -m Testing.benchmarks.confidence [--seeds 1 2 3]`` (some minutes a seed). No real image is looked at.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping

import numpy as np
from scipy.stats import spearmanr

from MedPerSAMLib.core.methods.med_persam import MedPerSAM
from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.core.propagate.confidence import EXPONENTS
from MedPerSAMLib.core.task import Reference
from MedPerSAMLib.services.equipment import prepare
from Testing.benchmarks.phantoms import open_phantom, structures

CANDIDATES: tuple[Mapping[str, float], ...] = (
    EXPONENTS,
    {"cycle": 1.0, "contrast": 0.25, "predicted_iou": 1.0},
    {"cycle": 1.0, "contrast": 0.25},
    {"cycle": 1.0, "contrast": 0.5, "predicted_iou": 1.0},
    {"cycle": 1.0, "contrast": 0.25, "predicted_iou": 2.0},
    {"cycle": 0.5, "contrast": 0.25, "predicted_iou": 1.0},
    {"cycle": 1.0, "contrast": 0.25, "predicted_iou": 1.0, "agreement": 0.1},
    {"cycle": 0.5, "contrast": 0.25, "predicted_iou": 1.0, "agreement": 0.25},
    {"cycle": 0.75, "contrast": 0.25, "predicted_iou": 1.0, "agreement": 0.1},
    {"cycle": 0.25, "contrast": 0.25, "predicted_iou": 1.0, "agreement": 0.25},
    {"cycle": 1.0, "contrast": 0.25, "predicted_iou": 1.0, "agreement": 0.25},
    {"cycle": 1.0, "contrast": 0.25, "predicted_iou": 1.0, "agreement": 0.5},
)


def slices_of(seed: int, equipment) -> list[tuple[float, dict[str, float]]]:
    """(true Dice, signs) of every slice that holds something, of all structures of a phantom."""
    session, labels = open_phantom(seed, equipment)
    found = []
    for truth, largest in structures(labels):
        result = MedPerSAM().propagate(session, Reference({largest: truth[largest]}), Progress())
        both = result.mask.sum((1, 2)) + truth.sum((1, 2))
        dice = 2 * (result.mask & truth).sum((1, 2)) / np.maximum(both, 1)
        for index in np.flatnonzero(both):
            signs = {name: float(figures[index]) for name, figures in result.details.items()}
            if index != largest and math.isfinite(signs["cycle"]):
                found.append((float(dice[index]), signs))
    return found


def rank_correlation(slices: list[tuple[float, dict[str, float]]], exponents: Mapping[str, float]) -> float:
    """Spearman's of true Dice and the product of the signs to these powers and the probability of presence."""
    confidence = []
    for _, signs in slices:
        powers = (max(0.01, signs[name]) ** power for name, power in exponents.items() if math.isfinite(signs[name]))
        confidence.append(math.prod(powers) / (1 + math.exp(-(signs["presence"] + 1.0))))
    return float(spearmanr(confidence, [dice for dice, _ in slices]).statistic)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    equipment = prepare("med-persam", "propagate", None, "cpu")
    slices = [one for seed in parser.parse_args().seeds for one in slices_of(seed, equipment)]
    print(f"{len(slices)} slices")
    for exponents in CANDIDATES:
        words = ", ".join(f"{name} {power:g}" for name, power in exponents.items())
        print(f"{rank_correlation(slices, exponents):.3f}  {words}")


if __name__ == "__main__":
    main()
