"""``medpersam methods``: which methods there are."""

from __future__ import annotations

import argparse

from MedPerSAMLib.core.methods import METHODS, method_class
from MedPerSAMLib.errors import DependencyError
from MedPerSAMLib.services.equipment import DEFAULT_METHOD


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add ``methods`` to the main command."""
    subparsers.add_parser("methods", help="list the methods").set_defaults(run=list_methods)


def list_methods(arguments: argparse.Namespace) -> int:
    """Print each method, what it does and works on."""
    width = max(map(len, METHODS)) + 2
    for name in METHODS:
        title = name + " *" * (name == DEFAULT_METHOD)
        try:
            method = method_class(name)
        except (DependencyError, ModuleNotFoundError) as error:
            print(f"{title.ljust(width)}  not available here: {error}")
            continue
        tasks = [work for task, work in (("propagate", "volumes"), ("transfer", "images")) if hasattr(method, task)]
        model = "needs a model" if method.needs_model else "no model"
        print(f"{title.ljust(width)}  {method.summary} [{', '.join(tasks)}; {model}]")
    print("* is used unless --method names another.")
    return 0
