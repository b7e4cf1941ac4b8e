"""The same work on the CPU and on a GPU, side by side: seconds, Dice, how far the two agree, and whether a device repeats itself.

    python -m Testing.benchmarks.devices [--devices cpu cuda] [--learners autosam-cnn,promise] [--case VOLUME LABELS]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import SimpleITK

from MedPerSAMLib.core.learn.labelled import LabelledVolume
from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.core.session import ImageSession, VolumeSession
from MedPerSAMLib.core.task import Reference, Volume
from MedPerSAMLib.sample import sample_paths
from MedPerSAMLib.services.equipment import prepare
from MedPerSAMLib.services.evaluation.metrics import dice
from MedPerSAMLib.services.learning.profile import Label
from MedPerSAMLib.services.learning.work import ApplyOrder, FitOrder, apply_profile, fit_profile

METHODS = ("med-persam", "warp", "persam", "persam-f", "matcher", "head-one", "ips-one")


@dataclass(frozen=True)
class Case:
    """A labelled volume: (slices, rows, columns) values, their labels, and millimetres per voxel along each axis."""

    values: np.ndarray
    labels: np.ndarray
    spacing: tuple[float, float, float]

    @classmethod
    def read(cls, volume: str, labels: str) -> Case:
        """From two image files on one grid."""
        image = SimpleITK.ReadImage(volume, SimpleITK.sitkFloat32)
        truth = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(labels)).astype(np.uint8)
        return cls(SimpleITK.GetArrayFromImage(image), truth, image.GetSpacing()[::-1])

    @property
    def masks(self) -> list[np.ndarray]:
        """The structures, each a bool array."""
        return [self.labels == value for value in np.unique(self.labels) if value]


@dataclass(frozen=True)
class Outcome:
    """Seconds of each piece of the work, and the masks that it gave, against the true ones."""

    seconds: list[float]
    masks: list[np.ndarray]
    truths: list[np.ndarray]

    @property
    def dice(self) -> float:
        """Mean over the masks."""
        return float(np.mean([dice(*pair) for pair in zip(self.masks, self.truths)]))

    def agreement(self, other: Outcome) -> float:
        """Mean Dice of its masks with those of another device."""
        return float(np.mean([dice(*pair) for pair in zip(self.masks, other.masks)]))


def propagate(case: Case, method: str, model: str | None, device: str) -> Outcome:
    """Each structure from its largest slice, in one session."""
    equipment = prepare(method, "propagate", model, device)
    session = VolumeSession(Volume(case.values, case.spacing), equipment.predictor, equipment.warp_network)
    outcome = Outcome([], [], case.masks)
    for mask in case.masks:
        largest = int(np.count_nonzero(mask, axis=(1, 2)).argmax())
        began = time.perf_counter()
        result = equipment.method.propagate(session, Reference({largest: mask[largest]}, ""), Progress(), None)
        outcome.seconds.append(time.perf_counter() - began)
        outcome.masks.append(result.mask)
    return outcome


def transfer(case: Case, method: str, model: str | None, device: str) -> Outcome:
    """The first structure's largest slice to five slices beside it, taken as pictures."""
    equipment = prepare(method, "transfer", model, device)
    mask = case.masks[0]
    largest = int(np.count_nonzero(mask, axis=(1, 2)).argmax())
    targets = [index for index in range(largest - 3, largest + 3) if index != largest and 0 <= index < len(mask)]
    began = time.perf_counter()
    session = ImageSession(
        case.values[largest],
        mask[largest],
        [case.values[index] for index in targets],
        equipment.predictor,
        equipment.warp_network,
    )
    found = equipment.method.transfer(session, Progress())
    seconds = time.perf_counter() - began
    return Outcome([seconds], [result.mask for result in found], [mask[index] for index in targets])


def learn(case: Case, method: str, model: str | None, device: str) -> Outcome:
    """Fit on the case and apply to it."""
    values = [value for value in np.unique(case.labels) if value]
    labels = np.searchsorted([0, *values], case.labels).astype(np.uint8)
    volume = Volume(case.values, case.spacing)
    names = tuple(Label(str(value), (1.0, 0.0, 0.0)) for value in values)
    began = time.perf_counter()
    order = FitOrder((LabelledVolume(volume, labels),), names, method=method, model=model, device=device)
    profile = fit_profile(order, Progress())
    fitted = time.perf_counter()
    applied = apply_profile(ApplyOrder(profile, volume, device), Progress())
    seconds = [fitted - began, time.perf_counter() - fitted]
    return Outcome(seconds, [applied.results[number].mask for number in sorted(applied.results)], case.masks)


def compare(name: str, work: Callable[[str], Outcome], devices: list[str]) -> None:
    """Print one row for each device; the work is done twice, and the second is the one that is timed."""
    first: Outcome | None = None
    for device in devices:
        before, after = work(device), work(device)
        same = all(np.array_equal(*pair) for pair in zip(before.masks, after.masks))
        first = first or after
        ratio, took = sum(after.seconds) / sum(first.seconds), " + ".join(f"{s:.2f}" for s in after.seconds)
        print(
            f"{name:<22}{device:<6} Dice {after.dice:.3f}  agrees with {devices[0]} {after.agreement(first):.3f}  "
            f"{'repeats itself' if same else 'DIFFERS IN A SECOND RUN'}  ratio {ratio:.3f}  seconds {took}",
            flush=True,
        )


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", nargs="+", default=["cpu", "cuda"])
    parser.add_argument("--model", help="name or path of a SAM (default: the embedded one)")
    parser.add_argument("--methods", default=",".join(METHODS), help="methods of one slice, separated by commas")
    parser.add_argument("--transfer", default="med-persam", help="methods of one picture")
    parser.add_argument("--learners", default="", help="methods that learn from finished cases")
    parser.add_argument("--case", nargs=2, metavar=("VOLUME", "LABELS"), help="in place of the embedded sample")
    options = parser.parse_args()
    paths = options.case or [str(sample_paths().volume), str(sample_paths().truth)]
    case = Case.read(*paths)
    for title, work, names in (
        ("", propagate, options.methods),
        ("transfer ", transfer, options.transfer),
        ("learn ", learn, options.learners),
    ):
        for method in filter(None, names.split(",")):
            compare(title + method, partial(work, case, method, options.model), options.devices)
    return 0


if __name__ == "__main__":
    sys.exit(main())
