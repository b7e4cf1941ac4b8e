"""The command ``medpersam``: its sub-commands, and what it says when something is wrong."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

import MedPerSAMLib
from MedPerSAMLib.errors import MedPerSAMError
from MedPerSAMLib.services.interrupt import EXIT_CODE

COMMANDS = (
    "MedPerSAMLib.services.cli_demo",
    "MedPerSAMLib.services.cli_segment",
    "MedPerSAMLib.services.cli_transfer",
    "MedPerSAMLib.services.learning.cli_fit",
    "MedPerSAMLib.services.learning.cli_apply",
    "MedPerSAMLib.services.evaluation.cli_evaluate",
    "MedPerSAMLib.services.cli_models",
    "MedPerSAMLib.services.cli_methods",
)
"""Modules with ``add_parser(subparsers)``, which sets ``run``, a function from the arguments to an exit code."""

USER_ERROR = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (``sys.argv`` if None) and return its exit code.

    What the user can mend is said in one sentence on standard error, with exit code 2.
    """
    arguments = parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except MedPerSAMError as error:
        print(f"medpersam: {' '.join(str(error).split())}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("medpersam: stopped; nothing was written.", file=sys.stderr)
        return EXIT_CODE
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        print(
            "medpersam: The memory is not enough; choose a smaller model, --device cpu, or a --range of fewer slices.",
            file=sys.stderr,
        )
        return USER_ERROR


def parser() -> argparse.ArgumentParser:
    """The parser with all sub-commands."""
    main_parser = argparse.ArgumentParser(
        prog="medpersam", description="Annotate one slice, get the volume: one-shot propagation with a frozen SAM."
    )
    main_parser.add_argument("--version", action="version", version=f"medpersam {MedPerSAMLib.__version__}")
    subparsers = main_parser.add_subparsers(metavar="COMMAND", required=True)
    for module in COMMANDS:
        importlib.import_module(module).add_parser(subparsers)
    return main_parser


def out_of_memory(error: BaseException) -> bool:
    """Whether it is Python's or torch's way to say that memory ran out, on the CPU or a GPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and ("out of memory" in str(error) or "can't allocate memory" in str(error))
