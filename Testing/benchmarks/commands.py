"""Seconds and peak memory of whole commands on generated volumes; see README.md beside this file."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK

from MedPerSAMLib.sample.phantom import LABELS, Settings, make_phantom

ABDOMEN = Settings(shape=(36, 256, 256), spacing=(5.0, 1.125, 1.125))
"""A routine abdominal MR."""

THIN = Settings(shape=(88, 136, 180), spacing=(2.0, 1.7, 1.6))
"""Thin slices, of the size of the left-atrium volumes in the shared data."""

LEARNER = "autosam-cnn"
"""The learned method whose ``fit`` and ``apply`` are timed."""

FOUR, ONE = ("liver", "spleen", "right kidney", "left kidney"), ("liver",)


@dataclass(frozen=True)
class Measured:
    """What one child process took.

    Attributes:
        seconds: wall clock, interpreter start and imports included.
        gigabytes: peak resident memory; None on systems that do not tell.
        output: its standard output.
    """

    seconds: float
    gigabytes: float | None
    output: str


def main() -> int:
    """Measure and print; 1 where a command failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="name or path (default: the embedded one)")
    parser.add_argument("--method", default="med-persam")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    options = ["--method", arguments.method, "--device", arguments.device]
    options += ["--model", arguments.model] if arguments.model else []
    print(f"{platform.platform()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    print(f"method {arguments.method}, model {arguments.model or 'embedded'}, device {arguments.device}\n")
    print(f"{'command':<52}{'seconds':>9}{'s/slice':>9}{'GB':>7}   wanted")
    with tempfile.TemporaryDirectory() as folder:
        for name, settings, organs, wanted in (
            ("segment: 36 slices of 256 x 256, four structures", ABDOMEN, FOUR, "60 s, 3 GB"),
            ("segment: 88 slices of 136 x 180, one structure", THIN, ONE, "45 s, 3 GB"),
        ):
            volume, reference = write_case(Path(folder) / str(len(organs)), settings, organs)
            output = str(volume.with_name("result.seg.nrrd"))
            command = ["-m", "MedPerSAMLib", "segment", str(volume), "--reference", str(reference), "-o", output]
            measured = measure([*command, *options])
            print_row(name, measured.seconds, settings.shape[0], measured.gigabytes, wanted)
            if organs == FOUR:
                code = ["-c", TWO_STRUCTURES, str(volume), str(reference), json.dumps(vars(arguments))]
                first, second = json.loads(measure(code).output.splitlines()[-1])
                slices = settings.shape[0]
                print_row("    the first structure of a volume, in one process", first, slices, None, "")
                wanted = f"half of it, is {second / first:.2f}"
                print_row("    the second structure of that volume", second, slices, None, wanted)
        measure_learning(Path(folder) / "learning", arguments.model, arguments.device)
    return 0


def measure_learning(folder: Path, model: str | None, device: str) -> None:
    """The rows of ``fit`` on one finished case and of ``apply`` of that profile to it, as a command and twice in one process."""
    volume, labels = write_case(folder, THIN, ONE, whole=True)
    profile, output = str(folder / "profile.safetensors"), str(folder / "result.seg.nrrd")
    options = ["--device", device] + (["--model", model] if model else [])
    for name, command in (
        ("fit", ["fit", "--train", f"{volume}:{labels}", "-o", profile, "--method", LEARNER, *options]),
        ("apply", ["apply", profile, str(volume), "-o", output, *options]),
    ):
        measured = measure(["-m", "MedPerSAMLib", *command])
        print_row(f"{name}: the same volume, {LEARNER}", measured.seconds, THIN.shape[0], measured.gigabytes, "")
    first, second = json.loads(measure(["-c", APPLY_TWICE, profile, str(volume), device]).output.splitlines()[-1])
    print_row("    apply in one process, with the model's loading", first, THIN.shape[0], None, "")
    print_row("    apply once more", second, THIN.shape[0], None, "0.2 s a slice")


TWO_STRUCTURES = """
import json, sys, time
from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.core.session import VolumeSession
from MedPerSAMLib.services.equipment import prepare
from MedPerSAMLib.services.images.reference_file import read_reference
from MedPerSAMLib.services.images.volume_file import read_volume

path, labels, asked = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
equipment = prepare(asked["method"], "propagate", asked["model"], asked["device"])
file = read_volume(path)
reference = read_reference(labels, file.grid)
volume, geometry = file.along(reference.axis)
session = VolumeSession(volume, equipment.predictor, equipment.warp_network)
seconds = []
for structure in list(reference.references(geometry).values())[:2]:
    began = time.perf_counter()
    equipment.method.propagate(session, structure, Progress(), None)
    seconds.append(time.perf_counter() - began)
print(json.dumps(seconds))
"""
"""Run by a fresh interpreter: a session that has served nobody, then the same session again."""

APPLY_TWICE = """
import json, sys, time
from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.services.images.volume_file import read_volume
from MedPerSAMLib.services.learning.profile import Profile
from MedPerSAMLib.services.learning.work import ApplyOrder, apply_profile

profile, file = Profile.load(sys.argv[1]), read_volume(sys.argv[2])
volume, _ = file.along(file.grid.axis_of("axial"))
seconds = []
for _ in range(2):
    began = time.perf_counter()
    apply_profile(ApplyOrder(profile, volume, sys.argv[3]), Progress())
    seconds.append(time.perf_counter() - began)
print(json.dumps(seconds))
"""
"""Run by a fresh interpreter: seconds of an application with the model's loading, and of a second one."""


def write_case(folder: Path, settings: Settings, organs: tuple[str, ...], whole: bool = False) -> tuple[Path, Path]:
    """Write a phantom and its label; returns both paths.

    Args:
        folder: created.
        settings: of the phantom.
        organs: those in the label.
        whole: label every slice, as in a finished case; else only the one with the largest area of the organs.
    """
    folder.mkdir()
    image, label = make_phantom(1, settings)
    values = [value for value, name in LABELS.items() if name in organs]
    label[~np.isin(label, values)] = 0
    if not whole:
        # The slice where the smallest of them is largest: each must be there.
        areas = np.stack([np.count_nonzero(label == value, axis=(1, 2)) for value in values])
        keep = int(areas.min(axis=0).argmax())
        label[[k for k in range(len(label)) if k != keep]] = 0
    paths = folder / "volume.nii.gz", folder / ("labels.nii.gz" if whole else "reference.nii.gz")
    for path, array in zip(paths, (image, label)):
        written = SimpleITK.GetImageFromArray(array)
        written.SetSpacing(settings.spacing[::-1])
        SimpleITK.WriteImage(written, str(path))
    return paths


def measure(command: list[str]) -> Measured:
    """Run this interpreter with ``command`` to its end."""
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen([sys.executable, *command], stdout=output)
        gigabytes = None
        if hasattr(os, "wait4"):  # not on Windows
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kibibytes on Linux
            gigabytes = usage.ru_maxrss * unit / 1e9
        else:
            process.wait()
        seconds = time.perf_counter() - began
        output.seek(0)
        text = output.read()
    if process.returncode:
        raise SystemExit(f"The command failed with exit code {process.returncode}: {' '.join(command[:4])}")
    return Measured(seconds, gigabytes, text)


def print_row(name: str, seconds: float, slices: int, gigabytes: float | None, wanted: str) -> None:
    """One line of the table."""
    memory = "-" if gigabytes is None else f"{gigabytes:.2f}"
    print(f"{name:<52}{seconds:>9.1f}{seconds / slices:>9.2f}{memory:>7}   {wanted}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
