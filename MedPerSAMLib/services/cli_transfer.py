"""``medpersam transfer``: one annotated 2D image to other images, the paper's own setting."""

from __future__ import annotations

import argparse
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
        0, or 130 where Ctrl-C stopped it; structures that had finished are then in masks named ``<name>-mask.partial.png``.

    Raises:
        MedPerSAMError: an input, the model or an output is not usable; nothing is written then.
    """
    from MedPerSAMLib.core.task import Reference
    from MedPerSAMLib.services.images.picture_file import read_picture, read_picture_mask
    from MedPerSAMLib.services.images.write_segmentation import check_writable

    began = time.perf_counter()
    folder = Path(arguments.output)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; name a folder.")
    for path in (arguments.report, arguments.picture):
        if path and Path(path).parent != folder:
            check_writable(path)
    with Interrupt() as interrupt:
        progress = TerminalProgress(is_cancelled=interrupt.asked)
        image = read_picture(arguments.reference_image)
        labels, structures = read_picture_mask(arguments.reference_mask, image.shape[:2])
        for structure in structures:
            Reference({0: labels == structure.value}, f"{structure.name} in {arguments.reference_mask}")
        targets = [read_picture(path) for path in arguments.targets]
        names = output_names(arguments.targets)
        equipment = prepare(arguments.method, "transfer", arguments.model, arguments.device)
        for note in equipment.notes:
            progress.line(note)
        transfers, finished = _transfer(equipment, image, labels, structures, targets, arguments.seed, progress)
        progress.clear()
    if not transfers:
        print("medpersam: stopped before a structure was finished; nothing was written.", file=sys.stderr)
        return EXIT_CODE
    _write(arguments, equipment, structures, transfers, image, labels, targets, names, finished, began)
    return 0 if finished else EXIT_CODE


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
) -> tuple[dict[int, list[Transfer]], bool]:
    """Label value -> one result per target, and whether all structures were finished."""
    from MedPerSAMLib.core.session import ImageSession

    transfers: dict[int, list[Transfer]] = {}
    try:
        for number, structure in enumerate(structures, start=1):
            progress.subject = f"{structure.name} ({number} of {len(structures)})"
            session = ImageSession(
                image, labels == structure.value, targets, equipment.predictor, equipment.warp_network, seed
            )
            transfers[structure.value] = equipment.method.transfer(session, progress)
    except (Cancelled, KeyboardInterrupt):
        return transfers, False
    finally:
        progress.subject = ""
    return transfers, True


def _write(arguments, equipment, structures, transfers, image, labels, targets, names, finished, began) -> None:
    from MedPerSAMLib.services.images.picture_file import write_picture_mask
    from MedPerSAMLib.services.report import equipment_fields, write_report

    folder = Path(arguments.output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {folder} cannot be made: {error.strerror}; choose another one.") from error
    done = [s for s in structures if s.value in transfers]
    entries = []
    for number, (target, name) in enumerate(zip(targets, names)):
        results = {s.value: transfers[s.value][number] for s in done}
        path = folder / f"{name}-mask{'' if finished else '.partial'}.png"
        write_picture_mask(path, label_map(results, target.shape[:2]))
        found = {
            s.name: {"confidence": round(float(results[s.value].confidence), 4), "pixels": int(results[s.value].mask.sum())}
            for s in done
        }
        entries.append({"target": str(arguments.targets[number]), "mask": str(path), "structures": found})
        words = ", ".join(f"{n} {f['pixels']} pixels, confidence {f['confidence']:.2f}" for n, f in found.items())
        print(f"{path}: {words}")
    if arguments.report:
        report = {
            **equipment_fields(equipment, arguments.seed),
            "finished": finished,
            "reference_image": str(arguments.reference_image),
            "reference_mask": str(arguments.reference_mask),
            "seconds": round(time.perf_counter() - began, 2),
            "notes": list(equipment.notes),
            "targets": entries,
        }
        write_report(arguments.report, report)
        print(f"report: {arguments.report}")
    if arguments.picture:
        from MedPerSAMLib.services.pictures.montage import picture_montage

        shown = [(Path(arguments.reference_image).name + " (annotated)", image, {s.value: labels == s.value for s in done})]
        for number, (target, name) in enumerate(zip(targets, names)):
            shown.append((name, target, {s.value: transfers[s.value][number].mask for s in done}))
        picture_montage(shown, {s.value: s.colour for s in done}).save(arguments.picture)
        print(f"picture: {arguments.picture}")
