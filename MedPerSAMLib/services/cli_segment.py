"""``medpersam segment``: one annotated slice in, the whole volume out."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from MedPerSAMLib.errors import InputError
from MedPerSAMLib.services.equipment import DEFAULT_METHOD, prepare
from MedPerSAMLib.services.interrupt import EXIT_CODE, Interrupt
from MedPerSAMLib.services.snapped import NOTE
from MedPerSAMLib.services.structure_work import StructureWork
from MedPerSAMLib.services.terminal import TerminalProgress
from MedPerSAMLib.services.volume_outputs import VolumeOutputs

if TYPE_CHECKING:
    from MedPerSAMLib.core.task import Reference, Volume
    from MedPerSAMLib.services.images.grid import Geometry
    from MedPerSAMLib.services.images.structure import Structure
    from MedPerSAMLib.services.pictures.canvas import Canvas


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add ``segment`` to the main command."""
    parser = subparsers.add_parser(
        "segment",
        help="carry annotated slices of a volume through the whole volume",
        description="Carry annotated slices of a volume through the whole volume.",
    )
    parser.add_argument("volume", metavar="VOLUME", help="NIfTI, NRRD, MHA, ... or a folder of DICOM slices")
    parser.add_argument(
        "--reference",
        required=True,
        metavar="LABELS",
        help="label image or .seg.nrrd on the volume's grid; its non-empty slices along one axis are the annotations",
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="OUTPUT", help="what to write: .seg.nrrd, .nii.gz, .nii, .nrrd or .mha"
    )
    add_common_options(parser)
    parser.add_argument(
        "--range",
        type=slice_range,
        metavar="FIRST:LAST",
        help="slices to work on, both included, counted from 0 along the annotated axis (default: all)",
    )
    parser.add_argument(
        "--snap", action="store_true", help="the annotations are rectangles or rough shapes: outline what lies in them first"
    )
    parser.add_argument(
        "--keep-embeddings", action="store_true", help="keep embeddings on disk, for a quicker next run on this volume"
    )
    parser.set_defaults(run=run)


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Options that ``segment`` and ``transfer`` share."""
    parser.add_argument("--model", metavar="NAME-OR-PATH", help="see 'medpersam models list' (default: the embedded one)")
    parser.add_argument("--method", default=DEFAULT_METHOD, metavar="NAME", help="see 'medpersam methods' (%(default)s)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"), help="where it runs")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random (%(default)s)")
    parser.add_argument("--report", metavar="FILE.json", help="write confidences, times and settings here")
    parser.add_argument("--picture", metavar="FILE.png", help="write a picture of the result here")


def slice_range(text: str) -> range:
    """``FIRST:LAST`` as a range that includes both."""
    first, colon, last = text.partition(":")
    if not (colon and first.isdigit() and last.isdigit() and int(first) <= int(last)):
        raise argparse.ArgumentTypeError(f"{text!r} is no slice range; give two slice numbers such as 10:42")
    return range(int(first), int(last) + 1)


def run(arguments: argparse.Namespace) -> int:
    """Segment, and write segmentation, report and picture.

    Returns:
        0, or 130 where Ctrl-C stopped it; what had finished is then written to ``OUTPUT.partial.ext``, and so are report
        and picture.

    Raises:
        MedPerSAMError: an input, the model or an output is not usable; nothing is written then.
    """
    from MedPerSAMLib.services.images.reference_file import read_reference
    from MedPerSAMLib.services.images.volume_file import read_volume

    began = time.perf_counter()
    outputs = VolumeOutputs.of(arguments)
    outputs.check([arguments.volume, arguments.reference])
    with Interrupt() as interrupt:
        progress = TerminalProgress(is_cancelled=interrupt.asked)
        volume_file = read_volume(arguments.volume)
        reference_file = read_reference(arguments.reference, volume_file.grid)
        volume, geometry = volume_file.along(reference_file.axis)
        references = reference_file.references(geometry)
        _check_task(arguments, volume, geometry, references)
        equipment = prepare(arguments.method, "propagate", arguments.model, arguments.device)
        notes = (*volume_file.notes, *reference_file.notes, *equipment.notes)
        if arguments.snap:
            notes = (*notes, NOTE)
        for note in notes:
            progress.line(note)
        work = StructureWork(volume, references, equipment, arguments.seed, arguments.range, arguments.keep_embeddings)
        if arguments.snap:
            work.snap()
        finished = work.run(progress)
        progress.clear()
        if not (finished or work.has_something()):
            print("medpersam: stopped before a slice was finished; nothing was written.", file=sys.stderr)
            return EXIT_CODE
        outputs = outputs if finished else outputs.partial()
        _write(arguments, outputs, work, reference_file.structures, geometry, notes, finished, time.perf_counter() - began)
    return 0 if finished else EXIT_CODE


def _check_task(
    arguments: argparse.Namespace, volume: Volume, geometry: Geometry, references: Mapping[int, Reference]
) -> None:
    from MedPerSAMLib.services.combine import check_disjoint
    from MedPerSAMLib.services.images.write_segmentation import output_suffix

    last = len(volume.array) - 1
    if output_suffix(arguments.output) != ".seg.nrrd":
        check_disjoint(references)
    for reference in references.values():
        for k in reference.masks:
            if volume.array[k].min() == volume.array[k].max():
                raise InputError(
                    f"{reference.name} is annotated on slice {k}, where every voxel is {volume.array[k].min():g}; "
                    "annotate a slice that shows it."
                )
    if arguments.range is None:
        return
    first_wanted, last_wanted = arguments.range[0], arguments.range[-1]
    if last_wanted > last:
        raise InputError(
            f"The range {first_wanted}:{last_wanted} leaves the volume's {geometry.plane} slices 0:{last}; give one inside."
        )
    for reference in references.values():
        if not any(k in arguments.range for k in reference.masks):
            raise InputError(
                f"{reference.name} is annotated on {_listed(reference.masks)}, outside the range "
                f"{first_wanted}:{last_wanted}; include an annotated slice."
            )


def _write(
    arguments: argparse.Namespace,
    outputs: VolumeOutputs,
    work: StructureWork,
    structures: tuple[Structure, ...],
    geometry: Geometry,
    notes: tuple[str, ...],
    finished: bool,
    seconds: float,
) -> None:
    from MedPerSAMLib.services.combine import exclusive, label_maps, layers_of
    from MedPerSAMLib.services.report import equipment_fields, structure_fields

    done = [structure for structure in structures if structure.value in work.propagations]
    references = {structure.value: work.references[structure.value] for structure in done}
    found = exclusive(work.propagations, references)
    maps = label_maps(found, references)
    millilitres = math.prod(geometry.grid.spacing) / 1000
    report = {
        **equipment_fields(work.equipment, arguments.seed),
        "finished": finished,
        "volume": str(arguments.volume),
        "reference": str(arguments.reference),
        "snapped": arguments.snap,
        "output": str(outputs.segmentation),
        "plane": geometry.plane,
        "size": geometry.grid.size,
        "spacing_mm": geometry.grid.spacing,
        "range": None if arguments.range is None else [arguments.range[0], arguments.range[-1]],
        "seconds": round(seconds, 2),
        "notes": list(notes),
        "structures": [
            structure_fields(s, references[s.value], found[s.value], millilitres, work.seconds[s.value])
            for s in done
        ],
    }

    def picture() -> Canvas:
        from MedPerSAMLib.services.pictures.montage import volume_montage

        title = f"{Path(arguments.volume).name}: {work.equipment.method_name}, model {work.equipment.model or 'none'}"
        return volume_montage(work.volume, geometry, done, references, found, title)

    outputs.write((maps, done, layers_of(references), geometry), report, picture)
    _print_summary(report, len(structures))
    outputs.print_others()


def _print_summary(report: dict, wanted: int) -> None:
    for structure in report["structures"]:
        present = [entry["slice"] for entry in structure["slices"] if entry["present"]]
        words = f"annotated on {_listed(structure['annotated_slices'])}, found on {present[0]}-{present[-1]}"
        least = structure["least_certain_slice"]
        if least is not None:
            words += f", least certain on {least} (confidence {structure['slices'][least]['confidence']:.2f})"
        print(f"{structure['name']}: {words}, {structure['millilitres']:.1f} ml, {structure['seconds']:.1f} s")
        for note in structure["notes"]:
            print(f"  {note}")
    if not report["finished"]:
        count = len(report["structures"])
        print(f"Stopped during structure {count} of {wanted}; what was finished is kept.", file=sys.stderr)
    print(f"segmentation: {report['output']} ({report['plane']} slices, {report['seconds']:.1f} s in all)")


def _listed(slices: Iterable[int]) -> str:
    indices = sorted(slices)
    return f"slice {indices[0]}" if len(indices) == 1 else f"slices {', '.join(str(k) for k in indices)}"
