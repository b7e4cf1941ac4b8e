"""At which movement a pass of the warp is the last one: Dice in generated abdomens, without SAM, for several limits.

Usage: ``python -m Testing.benchmarks.pass_limit [--seeds 1 2 3 4]`` (two minutes a seed). No real image is looked at; from this
``core.warp.fields.SETTLED`` is chosen.
"""

from __future__ import annotations

import argparse
from statistics import mean

import numpy as np

from MedPerSAMLib.core.methods.med_persam import MedPerSAM, Settings
from MedPerSAMLib.core.overlap import dice
from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.core.task import Reference
from MedPerSAMLib.core.warp.fields import NeighbourFields
from MedPerSAMLib.services.equipment import prepare
from Testing.benchmarks.phantoms import open_phantom, structures

LIMITS = (1.0, 2.0, 3.0, 4.0, 5.0)
"""Frame pixels."""


def dice_of(seed: int, limit: float, equipment) -> list[float]:
    """Dice of every structure of a phantom over all slices but the annotated one."""
    session, labels = open_phantom(seed, equipment)
    session.fields = NeighbourFields(session.planes, equipment.warp_network, session.device, settled=limit)
    found = []
    for truth, largest in structures(labels):
        result = MedPerSAM(Settings(sam=False)).propagate(session, Reference({largest: truth[largest]}), Progress())
        others = np.arange(len(truth)) != largest
        found.append(dice(result.mask[others], truth[others]))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4])
    seeds = parser.parse_args().seeds
    equipment = prepare("med-persam", "propagate", None, "cpu")
    for limit in LIMITS:
        found = [value for seed in seeds for value in dice_of(seed, limit, equipment)]
        print(f"{limit:g} frame pixels: Dice {mean(found):.4f} of {len(found)} structures", flush=True)


if __name__ == "__main__":
    main()
