"""``medpersam demo``: the main job on the embedded sample, with the embedded model; nothing is downloaded."""

from __future__ import annotations

import argparse
from pathlib import Path

from MedPerSAMLib.services import cli_segment
from MedPerSAMLib.services.equipment import DEFAULT_METHOD


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add ``demo`` to the main command."""
    parser = subparsers.add_parser("demo", help="segment the embedded sample and compare with its truth")
    parser.add_argument("--folder", default="medpersam-demo", help="where the results go (%(default)s)")
    parser.add_argument("--method", default=DEFAULT_METHOD, metavar="NAME", help="see 'medpersam methods' (%(default)s)")
    parser.set_defaults(run=run)


def _segment_parser() -> argparse.ArgumentParser:
    """The command line of ``segment``, so that the demo runs with its defaults."""
    parser = argparse.ArgumentParser()
    cli_segment.add_parser(parser.add_subparsers())
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Segment the sample, write segmentation, report and picture, and print the agreement with the truth.

    Raises:
        MedPerSAMError: as ``segment``.
    """
    from MedPerSAMLib.errors import OutputError
    from MedPerSAMLib.sample import REFERENCE_SLICE, sample_paths

    sample = sample_paths()
    folder = Path(arguments.folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {folder} cannot be made: {error.strerror}; name another one.") from error
    output = folder / "segmentation.seg.nrrd"
    print(
        "A generated abdomen of 40 slices; five organs are outlined on one of them, "
        f"slice {REFERENCE_SLICE}, and carried through the volume by {arguments.method}."
    )
    words = [sample.volume, "--reference", sample.reference, "-o", output, "--method", arguments.method]
    words += ["--report", folder / "report.json", "--picture", folder / "picture.png"]
    code = cli_segment.run(_segment_parser().parse_args(["segment", *map(str, words)]))
    if code == 0:
        _print_agreement(output, sample.truth, REFERENCE_SLICE)
    return code


def _print_agreement(output: Path, truth: Path, annotated: int) -> None:
    import numpy as np
    import SimpleITK

    from MedPerSAMLib.sample.phantom import LABELS

    found, true = (SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))) for path in (output, truth))
    others = np.arange(len(true)) != annotated
    scores = []
    for value, name in LABELS.items():
        mine, theirs = found[others] == value, true[others] == value
        dice = 2 * np.count_nonzero(mine & theirs) / (np.count_nonzero(mine) + np.count_nonzero(theirs))
        scores.append(f"{name} {dice:.2f}")
    print(f"Dice with the truth, annotated slice left out: {', '.join(scores)}")
