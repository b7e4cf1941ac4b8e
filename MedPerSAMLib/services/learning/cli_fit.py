"""``medpersam fit``: finished cases in, a profile out that segments the next volume without annotation."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from MedPerSAMLib.core.learn.learners import DEFAULT_LEARNER, learner
from MedPerSAMLib.errors import Cancelled, InputError, OutputError
from MedPerSAMLib.services.interrupt import EXIT_CODE, Interrupt
from MedPerSAMLib.services.learning.pairs import split_pair
from MedPerSAMLib.services.terminal import TerminalProgress

if TYPE_CHECKING:
    from MedPerSAMLib.core.learn.fitted import CurvePoint
    from MedPerSAMLib.services.learning.profile import Profile
    from MedPerSAMLib.services.learning.work import FitOrder

PLANES = ("axial", "coronal", "sagittal")


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add ``fit`` to the main command."""
    parser = subparsers.add_parser(
        "fit",
        help="learn from a few finished cases to segment the next volume",
        description="Learn from a few finished cases to segment the next volume; the model itself stays as it is.",
    )
    parser.add_argument(
        "--train",
        required=True,
        nargs="+",
        metavar="VOLUME:LABELS",
        help="finished cases: a volume, and a label image or .seg.nrrd in which every structure is outlined on all slices",
    )
    parser.add_argument(
        "--validation",
        nargs="+",
        default=[],
        metavar="VOLUME:LABELS",
        help="finished cases by which the training is stopped (default: some slices of the training cases are held out)",
    )
    parser.add_argument("-o", "--output", required=True, metavar="PROFILE", help="what to write: .safetensors")
    parser.add_argument(
        "--method", default=DEFAULT_LEARNER, metavar="NAME", help="see 'medpersam methods' (%(default)s)"
    )
    parser.add_argument(
        "--model", metavar="NAME-OR-PATH", help="see 'medpersam models list' (default: the embedded one)"
    )
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"), help="where it runs")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random (%(default)s)")
    parser.add_argument("--axis", default=PLANES[0], choices=PLANES, help="how slices are taken (%(default)s)")
    parser.add_argument("--resume", action="store_true", help="go on from the unfinished PROFILE of the same fit")
    parser.add_argument("--curve", metavar="FILE.png", help="draw the training curve here")
    parser.set_defaults(run=run)


class FitProgress(TerminalProgress):
    """Says besides how good each check of the training was."""

    def curve_point(self, point: CurvePoint) -> None:
        """Write a line that stays."""
        self.line(f"step {point.step}: training loss {point.loss:.3f}, validation Dice {point.dice:.3f}")


def run(arguments: argparse.Namespace) -> int:
    """Fit, and write the profile after each check of the training.

    Returns:
        0, or 130 where Ctrl-C stopped it; the best profile so far is then in PROFILE, marked as unfinished.

    Raises:
        MedPerSAMError: a case, the model or an output is not usable; nothing is written then.
    """
    from MedPerSAMLib.services.learning.work import fit_profile

    began = time.perf_counter()
    output = Path(arguments.output)
    learner(arguments.method)
    _check_outputs(arguments)
    kept: list[Profile] = []

    def keep(profile: Profile) -> None:
        profile.save(output)
        kept[:] = [profile]

    with Interrupt() as interrupt:
        progress = FitProgress(is_cancelled=interrupt.asked)
        order = _order(arguments, progress)
        try:
            fit_profile(order, progress, keep)
        except (Cancelled, KeyboardInterrupt):
            pass  # what was kept decides what is said
        finally:
            progress.clear()
    if not kept:
        state = f"{output} is as it was" if arguments.resume else "nothing was written"
        print(f"medpersam: stopped before the first check of the training; {state}.", file=sys.stderr)
        return EXIT_CODE
    return _finish(arguments, kept[0], time.perf_counter() - began)


def _check_outputs(arguments: argparse.Namespace) -> None:
    """Whatever is wrong with where results go is said before any work is done."""
    from MedPerSAMLib.services.images.write_segmentation import check_writable
    from MedPerSAMLib.services.learning.profile import Profile, check_suffix

    output = Path(arguments.output)
    check_suffix(output)
    for path in (output, arguments.curve):
        if path:
            check_writable(path)
    if output.exists() and not arguments.resume:
        try:
            Profile.load(output)
        except InputError as error:
            # It may be a model's weights, or anything else that nobody wants to lose.
            raise OutputError(f"{output} is there and no intact profile; remove it, or name another file.") from error


def _order(arguments: argparse.Namespace, progress: TerminalProgress) -> FitOrder:
    """Read everything that is asked for."""
    from MedPerSAMLib.services.learning.finished_cases import AXES, read_cases
    from MedPerSAMLib.services.learning.profile import Profile
    from MedPerSAMLib.services.learning.work import FitOrder

    resume = Profile.load(arguments.output) if arguments.resume else None
    pairs = [[split_pair(text) for text in texts] for texts in (arguments.train, arguments.validation)]
    cases = read_cases(*pairs, arguments.axis)
    for note in cases.notes:
        progress.line(note)
    return FitOrder(
        cases.training,
        cases.labels,
        cases.validation,
        arguments.method,
        arguments.model,
        arguments.device,
        arguments.seed,
        AXES.index(arguments.axis),
        resume,
        cases.directions,
    )


def _finish(arguments: argparse.Namespace, profile: Profile, seconds: float) -> int:
    """Say what came out, and draw its curve."""
    fitted = profile.fitted
    best = max(fitted.curve, key=lambda point: point.dice)
    print(
        f"{fitted.method} for {', '.join(label.name for label in profile.labels)}: validation Dice {best.dice:.3f} "
        f"at step {best.step} of {fitted.steps}, {seconds:.1f} s"
    )
    if arguments.curve:
        from MedPerSAMLib.services.pictures.training_curve import training_curve

        names = profile.trained_on
        cases = ", ".join(names) if len(names) < 3 else f"{len(names)} cases"  # more names are wider than the picture
        training_curve(fitted.curve, f"{fitted.method} on {cases}").save(arguments.curve)
        print(f"curve: {arguments.curve}")
    print(f"profile: {arguments.output}")
    if fitted.finished:
        return 0
    print(
        f"Stopped before the training's end; the best so far is kept in {arguments.output}, and the same command with "
        "--resume goes on.",
        file=sys.stderr,
    )
    return EXIT_CODE
