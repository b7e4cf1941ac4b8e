"""``medpersam transfer``: one annotated 2D image to other images, the paper's own setting."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from MedPerSAMLib.errors import Cancelled, InputError, OutputError
from MedPerSAMLib.services.cli_segment import add_common_options
from MedPerSAMLib.services.equipment import prepare
from MedPerSAMLib.services.interrupt import EXIT_CODE, Interrupt
from MedPerSAMLib.services.salvage import TargetSalvage
from MedPerSAMLib.services.terminal import TerminalProgress

if TYPE_CHECKING:
    from MedPerSAMLib.core.task import Transfer
    from MedPerSAMLib.services.equipment import Equipment
    from MedPerSAMLib.services.images.structure import Structure


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add ``transfer`` to the main command."""
    parser = subparsers.add_parser(
        "transfer",
        help="carry the mask of one annotated 2D image to other images",
        description="Carry the mask of one annotated 2D image (png, jpg, tif, dcm; grey or colour) to other images.",
    )
    parser.add_argument("--reference-image", required=True, metavar="IMAGE", help="the annotated image")
    parser.add_argument("--reference-mask", required=True, metavar="MASK", help="its mask; each value is a structure")
    parser.add_argument("-o", "--output", required=True, metavar="FOLDER", help="gets a <name>-mask.png per target")
    parser.add_argument("targets", nargs="+", metavar="TARGET", help="images to carry the mask to")
    add_common_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Transfer, and write one mask per target, report and picture.

    Returns:
        0, or 130 where Ctrl-C stopped it; what had finished is then in files named ``<name>-mask.partial.png``, and report
        and picture are named so as well.

    Raises:
        MedPerSAMError: an input, the model or an output is not usable; nothing is written then.
    """
    from MedPerSAMLib.core.task import Reference
    from MedPerSAMLib.services.images.picture_file import read_picture, read_picture_mask

    began = time.perf_counter()
    names = output_names(arguments.targets)
    _check_outputs(arguments, names)
    with Interrupt() as interrupt:
        progress = TerminalProgress(is_cancelled=interrupt.asked)
        image = read_picture(arguments.reference_image)
        labels, structures = read_picture_mask(arguments.reference_mask, image.shape[:2])
        for structure in structures:
            Reference({0: labels == structure.value}, f"{structure.name} in {arguments.reference_mask}")
        targets = [read_picture(path) for path in arguments.targets]
        equipment = prepare(arguments.method, "transfer", arguments.model, arguments.device)
        for note in equipment.notes:
            progress.line(note)
        transfers = _transfer(equipment, image, labels, structures, targets, arguments.seed, progress)
        progress.clear()
        if not any(transfers.values()):
            print("medpersam: stopped before a target was finished; nothing was written.", file=sys.stderr)
            return EXIT_CODE
        missing = _missing(structures, transfers, names)
        _write(arguments, equipment, structures, transfers, image, labels, targets, names, missing, began)
    return EXIT_CODE if missing else 0


def _check_outputs(arguments: argparse.Namespace, names: Sequence[str]) -> None:
    """Whatever is wrong with where results go is said before any work is done."""
    from MedPerSAMLib.services.images.write_segmentation import check_writable

    folder = Path(arguments.output)
    there = next(place for place in (folder, *folder.parents) if os.path.exists(place))
    if not there.is_dir():
        raise OutputError(f"{there} is a file; name a folder.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise OutputError(f"The folder {there} may not be written to; choose another one.")
    outputs = [*_mask_paths(folder, names), *(Path(p) for p in (arguments.report, arguments.picture) if p)]
    inputs = [Path(p) for p in (arguments.reference_image, arguments.reference_mask, *arguments.targets)]
    for path in outputs:
        if there == folder or path.parent.resolve() != folder.resolve():
            check_writable(path)
        if os.path.exists(path) and any(os.path.exists(source) and path.samefile(source) for source in inputs):
            raise OutputError(f"{path} is an input; write the result to another place.")
    if len({path.resolve() for path in outputs}) < len(outputs):
        raise OutputError("Report, picture or a mask name the same file; give each its own.")


def _mask_paths(folder: Path, names: Sequence[str]) -> list[Path]:
    return [folder / f"{name}-mask.png" for name in names]


def output_names(targets: Sequence[str]) -> list[str]:
    """What each target's mask is called: the target's stem, preceded by as many of its folders as tell targets apart.

    Raises:
        InputError: a target is given twice.
    """
    paths = [Path(target).resolve() for target in targets]
    for path in paths:
        if paths.count(path) > 1:
            raise InputError(f"The target {path} is given twice; name it once.")
    depth = 1
    while True:
        names = ["-".join([*path.parts[-depth:-1], path.stem]) for path in paths]
        if len({name.lower() for name in names}) == len(names):
            return names
        if depth >= max(len(path.parts) for path in paths):
            # Only suffixes differ, as in a.png and a.jpg.
            return [path.name.replace(".", "-") for path in paths]
        depth += 1


def label_map(transfers: Mapping[int, Transfer], shape: tuple[int, int]) -> np.ndarray:
    """(rows, columns) label values of one target; where masks overlap the more confident structure wins."""
    labels = np.zeros(shape, np.min_scalar_type(max(transfers)))
    for value, transfer in sorted(transfers.items(), key=lambda item: item[1].confidence):
        labels[transfer.mask] = value
    return labels


def _transfer(
    equipment: Equipment,
    image: np.ndarray,
    labels: np.ndarray,
    structures: Sequence[Structure],
    targets: Sequence[np.ndarray],
    seed: int,
    progress: TerminalProgress,
) -> dict[int, dict[int, Transfer]]:
    """Label value -> number of the target -> result; what had finished where Ctrl-C stopped it."""
    from MedPerSAMLib.core.session import ImageSession

    transfers: dict[int, dict[int, Transfer]] = {}
    for number, structure in enumerate(structures, start=1):
        progress.subject = f"{structure.name} ({number} of {len(structures)})"
        salvage = TargetSalvage(progress)
        transfers[structure.value] = salvage.transfers
        session = ImageSession(
            image, labels == structure.value, targets, equipment.predictor, equipment.warp_network, seed
        )
        try:
            results = equipment.method.transfer(session, salvage)
        except (Cancelled, KeyboardInterrupt):
            break
        finally:
            progress.subject = ""
        transfers[structure.value] = dict(enumerate(results))
    return transfers


def _missing(
    structures: Sequence[Structure], transfers: Mapping[int, Mapping[int, Transfer]], names: Sequence[str]
) -> dict[str, list[str]]:
    """Structure -> targets on which it was not finished; structures that were finished on all are left out."""
    missing = {}
    for structure in structures:
        found = transfers.get(structure.value, {})
        missing[structure.name] = [name for number, name in enumerate(names) if number not in found]
    return {name: targets for name, targets in missing.items() if targets}


def _write(arguments, equipment, structures, transfers, image, labels, targets, names, missing, began) -> None:
    from MedPerSAMLib.services.images.picture_file import write_picture_mask
    from MedPerSAMLib.services.images.write_segmentation import partial_path
    from MedPerSAMLib.services.images.written_together import written_together
    from MedPerSAMLib.services.report import equipment_fields, write_report

    folder, placed = Path(arguments.output), partial_path if missing else Path
    results = [
        {s.value: transfers[s.value][number] for s in structures if number in transfers.get(s.value, {})}
        for number in range(len(targets))
    ]
    masks = [placed(path) if found else None for path, found in zip(_mask_paths(folder, names), results)]
    report_path, picture_path = (placed(path) if path else None for path in (arguments.report, arguments.picture))
    entries = [
        {"target": str(target), "mask": mask and str(mask), "structures": _figures(structures, found)}
        for target, mask, found in zip(arguments.targets, masks, results)
    ]
    report = {
        **equipment_fields(equipment, arguments.seed),
        "finished": not missing,
        "missing": missing,
        "reference_image": str(arguments.reference_image),
        "reference_mask": str(arguments.reference_mask),
        "seconds": round(time.perf_counter() - began, 2),
        "notes": list(equipment.notes),
        "targets": entries,
    }
    with written_together([path for path in (*masks, report_path, picture_path) if path], folder):
        for path, found, target in zip(masks, results, targets):
            if path:
                write_picture_mask(path, label_map(found, target.shape[:2]))
        if report_path:
            write_report(report_path, report)
        if picture_path:
            from MedPerSAMLib.services.pictures.montage import picture_montage

            annotated = {s.value: labels == s.value for s in structures}
            shown = [(Path(arguments.reference_image).name + " (annotated)", image, annotated)]
            for target, name, found in zip(targets, names, results):
                shown.append((name, target, {value: transfer.mask for value, transfer in found.items()}))
            picture_montage(shown, {s.value: s.colour for s in structures}).save(picture_path)
    _print_summary(report, report_path, picture_path)


def _figures(structures: Sequence[Structure], found: Mapping[int, Transfer]) -> dict[str, dict[str, float]]:
    """Of one target: structure -> how sure it is and how many pixels it has."""
    return {
        s.name: {
            "confidence": round(float(found[s.value].confidence), 4),
            "pixels": int(np.count_nonzero(found[s.value].mask)),
        }
        for s in structures
        if s.value in found
    }


def _print_summary(report: dict, report_path: Path | None, picture_path: Path | None) -> None:
    for entry in report["targets"]:
        if entry["mask"]:
            found = entry["structures"].items()
            words = ", ".join(f"{n} {f['pixels']} pixels, confidence {f['confidence']:.2f}" for n, f in found)
            print(f"{entry['mask']}: {words}")
    if report["missing"]:
        words = "; ".join(f"{structure} on {', '.join(targets)}" for structure, targets in report["missing"].items())
        print(f"Stopped; what was finished is kept, missing are {words}.", file=sys.stderr)
    for what, path in (("report", report_path), ("picture", picture_path)):
        if path:
            print(f"{what}: {path}")
