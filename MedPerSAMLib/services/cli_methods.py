"""``medpersam methods``: which methods there are."""

from __future__ import annotations

import argparse

from MedPerSAMLib.core.learn.learners import DEFAULT_LEARNER, LEARNERS
from MedPerSAMLib.core.methods import METHODS, method_class
from MedPerSAMLib.errors import DependencyError
from MedPerSAMLib.services.equipment import DEFAULT_METHOD


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add ``methods`` to the main command."""
    subparsers.add_parser("methods", help="list the methods").set_defaults(run=list_methods)


def list_methods(arguments: argparse.Namespace) -> int:
    """Print each method, what it does and works on; then those that learn from finished cases."""
    width = max(map(len, (*METHODS, *LEARNERS))) + 2
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
    print("\nLearned from finished cases (medpersam fit):")
    for name, learned in LEARNERS.items():
        title = name + " *" * (name == DEFAULT_LEARNER)
        model = "needs a model" if learned.needs_model else "no model"
        print(f"{title.ljust(width)}  {learned.summary} [{model}]")
    print("\n* is used unless --method names another.")
    return 0
