"""``medpersam apply``: a profile and a volume in, its structures out, without any annotation."""

from __future__ import annotations

import argparse
import math
import platform
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import MedPerSAMLib
from MedPerSAMLib.errors import Cancelled
from MedPerSAMLib.services.interrupt import EXIT_CODE, Interrupt
from MedPerSAMLib.services.terminal import TerminalProgress
from MedPerSAMLib.services.volume_outputs import VolumeOutputs

if TYPE_CHECKING:
    from MedPerSAMLib.core.learn.apply import Applied
    from MedPerSAMLib.core.task import Volume
    from MedPerSAMLib.services.images.grid import Geometry
    from MedPerSAMLib.services.images.structure import Structure
    from MedPerSAMLib.services.learning.profile import Profile
    from MedPerSAMLib.services.pictures.canvas import Canvas


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add ``apply`` to the main command."""
    parser = subparsers.add_parser(
        "apply",
        help="segment a volume with what 'fit' learned",
        description="Segment a volume with what 'medpersam fit' learned; nothing has to be annotated.",
    )
    parser.add_argument("profile", metavar="PROFILE", help="a file that 'medpersam fit' wrote")
    parser.add_argument("volume", metavar="VOLUME", help="NIfTI, NRRD, MHA, ... or a folder of DICOM slices")
    parser.add_argument(
        "-o", "--output", required=True, metavar="OUTPUT", help="what to write: .seg.nrrd, .nii.gz, .nii, .nrrd or .mha"
    )
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"), help="where it runs")
    parser.add_argument("--model", metavar="PATH", help="the profile's model, where it is not found by its name")
    parser.add_argument("--report", metavar="FILE.json", help="write confidences, times and settings here")
    parser.add_argument("--picture", metavar="FILE.png", help="write a picture of the result here")
    parser.set_defaults(run=run)


class ApplyProgress(TerminalProgress):
    """Keeps what it was told, for the report."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.notes: list[str] = []

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)
        super().note(sentence)


def run(arguments: argparse.Namespace) -> int:
    """Segment, and write segmentation, report and picture.

    Returns:
        0, or 130 where Ctrl-C stopped it; the slices that had finished are then written to ``OUTPUT.partial.ext``, and so are
        report and picture.

    Raises:
        MedPerSAMError: the profile, the volume, the model or an output is not usable; nothing is written then.
    """
    from MedPerSAMLib.services.images.volume_file import read_volume
    from MedPerSAMLib.services.learning.applied_slices import AppliedSlices
    from MedPerSAMLib.services.learning.finished_cases import AXES, check_directions
    from MedPerSAMLib.services.learning.profile import Profile
    from MedPerSAMLib.services.learning.work import ApplyOrder, apply_profile

    began = time.perf_counter()
    outputs = VolumeOutputs.of(arguments)
    outputs.check([arguments.volume, arguments.profile])
    with Interrupt() as interrupt:
        progress = ApplyProgress(is_cancelled=interrupt.asked)
        profile = Profile.load(arguments.profile)
        volume_file = read_volume(arguments.volume)
        volume, geometry = volume_file.along(volume_file.grid.axis_of(AXES[profile.axis]))
        if profile.directions:
            check_directions(arguments.volume, geometry.directions, "the profile's cases", profile.directions)
        for note in volume_file.notes:
            progress.note(note)
        if not profile.fitted.finished:
            progress.note("The profile's training was stopped before its end; what it finds may get better.")
        slices = AppliedSlices(volume, len(profile.labels))
        order = ApplyOrder(profile, volume, arguments.device, arguments.model)
        try:
            applied, finished = apply_profile(order, progress, slices.on_slice), True
        except (Cancelled, KeyboardInterrupt):
            applied, finished = slices.applied(), False
        finally:
            progress.clear()
        if not (finished or slices.any_finished):
            print("medpersam: stopped before a slice was finished; nothing was written.", file=sys.stderr)
            return EXIT_CODE
        seconds = time.perf_counter() - began
        outputs = outputs if finished else outputs.partial()
        _write(arguments, outputs, profile, volume, geometry, applied, progress.notes, finished, seconds)
    return 0 if finished else EXIT_CODE


def _write(
    arguments: argparse.Namespace,
    outputs: VolumeOutputs,
    profile: Profile,
    volume: Volume,
    geometry: Geometry,
    applied: Applied,
    notes: list[str],
    finished: bool,
    seconds: float,
) -> None:
    import numpy as np

    structures = profile.structures()
    labels = np.zeros(volume.array.shape, np.min_scalar_type(max(s.value for s in structures.values())))
    for number, structure in structures.items():
        labels[applied.results[number].mask] = structure.value
    in_order = list(structures.values())
    millilitres = math.prod(geometry.grid.spacing) / 1000
    report = {
        "version": MedPerSAMLib.__version__,
        "method": profile.fitted.method,
        "profile": str(arguments.profile),
        "trained_on": list(profile.trained_on),
        "model": profile.model,
        "model_sha256": profile.model_checksum,
        "python": platform.python_version(),
        "finished": finished,
        "volume": str(arguments.volume),
        "output": str(outputs.segmentation),
        "plane": geometry.plane,
        "size": geometry.grid.size,
        "spacing_mm": geometry.grid.spacing,
        "seconds": round(seconds, 2),
        "notes": notes,
        # All structures are found at once, so each took the whole time.
        "structures": [
            _structure_fields(structure, number, applied, millilitres, seconds) for number, structure in structures.items()
        ],
    }

    def picture() -> Canvas:
        from MedPerSAMLib.services.pictures.montage import volume_montage

        title = f"{Path(arguments.volume).name}: {profile.fitted.method}, profile {Path(arguments.profile).name}"
        by_value = {structure.value: applied.results[number] for number, structure in structures.items()}
        return volume_montage(volume, geometry, in_order, {}, by_value, title)

    outputs.write(([labels], in_order, {s.value: 0 for s in in_order}, geometry), report, picture)
    _print_summary(report)
    outputs.print_others()


def _structure_fields(
    structure: Structure, number: int, applied: Applied, millilitres: float, seconds: float
) -> dict[str, Any]:
    """What the report of a propagation says, and on each slice the points that SAM was prompted with, where it was."""
    from MedPerSAMLib.services.report import structure_fields

    fields = structure_fields(structure, None, applied.results[number], millilitres, seconds)
    for entry in fields["slices"]:
        points = applied.points.get((number, entry["slice"]))
        if points is not None:
            entry["points"] = [
                {"row": round(float(row), 2), "column": round(float(column), 2), "inside": bool(inside)}
                for (row, column), inside in zip(points.places, points.labels)
            ]
    return fields


def _print_summary(report: dict) -> None:
    # Sentences about the whole volume stand under every structure.
    for note in dict.fromkeys(note for structure in report["structures"] for note in structure["notes"]):
        print(note)
    for structure in report["structures"]:
        present = [entry["slice"] for entry in structure["slices"] if entry["present"]]
        least = structure["least_certain_slice"]
        words = f"found on {present[0]}-{present[-1]}" if present else "not found"
        if least is not None:
            words += f", least certain on {least} (confidence {structure['slices'][least]['confidence']:.2f})"
        print(f"{structure['name']}: {words}, {structure['millilitres']:.1f} ml")
    if not report["finished"]:
        print("Stopped before all slices were finished; what was finished is kept.", file=sys.stderr)
    print(f"segmentation: {report['output']} ({report['plane']} slices, {report['seconds']:.1f} s in all)")
