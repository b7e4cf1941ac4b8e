"""What SAM's features are worth in the test of presence, on generated abdomens.

    python -m Testing.benchmarks.presence [--seeds 11 12 13 14 15 16] [--weights 0 2 4 6 8]

Prints the mean Dice of all structures, their annotated slices left out, for each weight of the features. No real image is looked at.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from MedPerSAMLib.core.methods.med_persam import MedPerSAM, Settings
from MedPerSAMLib.core.overlap import dice
from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.core.task import Reference
from MedPerSAMLib.services.equipment import prepare
from Testing.benchmarks.phantoms import open_phantom, structures


def dices_of(seed: int, weights: Sequence[float], equipment) -> Iterator[list[float]]:
    """Dice with each weight, of every structure of a phantom."""
    session, labels = open_phantom(seed, equipment)
    for truth, largest in structures(labels):
        others = np.arange(len(truth)) != largest
        reference = Reference({largest: truth[largest]})
        found = []
        for weight in weights:
            settings = replace(Settings(), end=replace(Settings().end, features=weight))
            result = MedPerSAM(settings).propagate(session, reference, Progress())
            found.append(dice(result.mask[others], truth[others]))
        yield found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13, 14, 15, 16])
    parser.add_argument("--weights", type=float, nargs="+", default=[0.0, 2.0, 4.0, 6.0, 8.0])
    options = parser.parse_args()
    equipment = prepare("med-persam", "propagate", None, "cpu")
    found = [row for seed in options.seeds for row in dices_of(seed, options.weights, equipment)]
    print(f"{len(found)} structures")
    for weight, mean in zip(options.weights, np.mean(found, axis=0)):
        print(f"{mean:.4f}  weight {weight:g}")


if __name__ == "__main__":
    main()
