"""``medpersam evaluate``: every method on labelled data, by one of the protocols."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import MedPerSAMLib
from MedPerSAMLib.errors import InputError
from MedPerSAMLib.services.evaluation.console import ConsoleProgress
from MedPerSAMLib.services.evaluation.dataset import Dataset, LabelledSet
from MedPerSAMLib.services.evaluation.protocol import PROTOCOLS, Protocol, protocol_class
from MedPerSAMLib.services.evaluation.report import Report
from MedPerSAMLib.services.evaluation.runner import run
from MedPerSAMLib.services.evaluation.table import tables
from MedPerSAMLib.services.evaluation.variants import Choice
from MedPerSAMLib.services.evaluation.workbench import Options, Workbench
from MedPerSAMLib.services.interrupt import EXIT_CODE

NO_MODEL = "The CPU is used because nothing that is compared needs a model."


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add ``evaluate`` to the main command."""
    parser = subparsers.add_parser("evaluate", help="measure every method on labelled data")
    folder_help = "folder of <set>/<case>/{image,label}.{nii.gz|png}"
    parser.add_argument("data", type=Path, metavar="DATA", help=folder_help).required = False  # see _complete
    parser.add_argument("--protocol", choices=list(PROTOCOLS), default="volume", help="what is measured")
    parser.add_argument(
        "--references",
        type=_positive,
        metavar="N",
        help="protocol image: so many cases of each set are the reference in turn (default: 1, the first)",
    )
    parser.add_argument(
        "--train-sizes",
        nargs="+",
        action=_List,
        metavar="1,3,5",
        help="protocol fewshot: numbers of patients to learn from (default: 1,3,5)",
    )
    parser.add_argument(
        "--sets", nargs="+", action=_List, metavar="A,B", help="sets to measure (default: all with expert labels)"
    )
    parser.add_argument(
        "--methods",
        nargs="+",
        action=_List,
        metavar="A,B",
        help="methods to compare (default: all); with other settings: 'method:field=value;part.field=value'",
    )
    parser.add_argument(
        "--ablation",
        nargs="*",
        action=_List,
        metavar="ROW,ROW",
        help="add med-persam's steps, one more in each row (default: all rows)",
    )
    parser.add_argument(
        "--labels", nargs="+", action=_List, default=[], metavar="A,B", help="structures to measure (default: all)"
    )
    parser.add_argument("--cases", type=_positive, metavar="N", help="first N cases of each set only")
    parser.add_argument("--model", metavar="NAME-OR-PATH", help="model (default: the embedded one)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random")
    parser.add_argument("--jobs", type=_positive, default=1, metavar="N", help="processes to use")
    parser.add_argument(
        "--share-sessions",
        action="store_true",
        help="methods share embeddings and fields of a volume: faster, but later methods' seconds come out too low",
    )
    parser.add_argument(
        "--together",
        action="store_true",
        help="protocol volume: the structures of a volume exclude each other, as segment and the panel do it",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here, after every case")
    parser.set_defaults(run=evaluate)


class _List(argparse.Action):
    """Takes words with commas, spaces or both between them; commas in brackets belong to a word."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        setattr(namespace, self.dest, [word.strip() for text in values for word in re.split(r",(?![^(]*\))", text) if word.strip()])


def evaluate(arguments: argparse.Namespace) -> int:
    """Run the protocol, print its tables and write its JSON; 0, or 130 where Ctrl-C stopped it.

    Raises:
        InputError: the data, a set, a method or a label does not exist.
        ModelError: the model cannot be loaded.
        OutputError: the JSON cannot be written.
    """
    _complete(arguments)
    if arguments.references and arguments.protocol != "image":
        raise InputError(
            f"The protocol {arguments.protocol!r} chooses its references itself; --references belongs to 'image'."
        )
    if arguments.train_sizes and arguments.protocol != "fewshot":
        raise InputError(f"The protocol {arguments.protocol!r} learns nothing; --train-sizes belongs to 'fewshot'.")
    if arguments.together and arguments.protocol != "volume":
        raise InputError(
            f"The protocol {arguments.protocol!r} takes structures one by one; --together belongs to 'volume'."
        )
    protocol = protocol_class(arguments.protocol).from_arguments(arguments)
    sets = _chosen_sets(protocol, arguments)
    choice = protocol.choose(arguments.methods, arguments.ablation)
    options = Options(
        model=_model_name(arguments.model) if choice.needs_model else None,
        device=arguments.device,
        seed=arguments.seed,
        variants=choice.variants,
        kinds=choice.kinds,
        labels=tuple(arguments.labels),
        share_sessions=arguments.share_sessions,
        together=arguments.together,
    )
    bench = Workbench.open(options)
    console = bench.progress = ConsoleProgress(sys.stderr)
    bench.notes += protocol.notes(sets)
    report = Report(protocol, _header(arguments, bench, choice), arguments.json)
    for name, reason in choice.left_out.items():
        console.line(f"left out: {name}: {reason}")
    for note in bench.notes:
        console.line(note)
    stopped, finished = False, False
    try:
        for records in run(protocol, sets, bench, arguments.jobs):
            report.add(records)
            for record in records:
                console.record(record)
        finished = True
    except KeyboardInterrupt:
        stopped = True
    finally:
        console.clear()
        report.finish(partial=not finished)
    if report.records:
        print(tables(report.content(), protocol.columns))
    if stopped:
        where = f", kept in {arguments.json}" if arguments.json else ""
        console.line(f"Stopped; partial figures from {len(report.records)} results{where}.")
    return EXIT_CODE if stopped else 0


def _complete(arguments: argparse.Namespace) -> None:
    """Find DATA where it stands last, after a list that took it for one of its own, and read the training sizes.

    Raises:
        InputError: there is no DATA, or a training size is no number of patients.
    """
    if arguments.data is None:
        lists = [
            words for words in (arguments.train_sizes, arguments.sets, arguments.methods, arguments.labels) if words
        ]
        ends = [words for words in lists if len(words) > 1 and Path(words[-1]).is_dir()]
        if len(ends) != 1:
            raise InputError("No folder of labelled sets is named; write it right after 'medpersam evaluate'.")
        arguments.data = Path(ends[0].pop())
    if arguments.train_sizes:
        arguments.train_sizes = [_size(word) for word in arguments.train_sizes]


def _size(word: str) -> int:
    if not word.isdecimal() or int(word) < 1:
        raise InputError(f"{word!r} is no number of patients to learn from; write --train-sizes 1,3,5.")
    return int(word)


def _chosen_sets(protocol: Protocol, arguments: argparse.Namespace) -> list[LabelledSet]:
    dataset = Dataset.open(arguments.data)
    sets = dataset.select(arguments.sets) if arguments.sets else protocol.default_sets(dataset)
    if not sets:
        raise InputError(f"{arguments.data} holds no set for protocol {arguments.protocol!r}; name sets with --sets.")
    protocol.check(sets)
    known = {name for labelled in sets for case in labelled.cases for name in case.labels.values()}
    for label in arguments.labels:
        if label not in known:
            raise InputError(f"No chosen set has a label {label!r}; use {', '.join(sorted(known))}.")
    return [protocol.limit(labelled, arguments.cases) for labelled in sets] if arguments.cases else sets


def _model_name(name: str | None) -> str:
    if name is not None:
        return name
    from MedPerSAMLib.services.models.registry import DEFAULT

    return DEFAULT


def _header(arguments: argparse.Namespace, bench: Workbench, choice: Choice) -> dict[str, object]:
    asked = {key: value for key, value in vars(arguments).items() if key not in ("run", "json", "data", "seed")}
    return {
        "protocol": arguments.protocol,
        "version": MedPerSAMLib.__version__,
        "model": bench.model,
        "checksum": bench.checksum,
        # What segment's report says, and beside it the sentence that says why.
        "device": "cpu" if bench.predictor is None else str(bench.predictor.device),
        "device_reason": NO_MODEL if bench.predictor is None else bench.device,
        "seed": arguments.seed,
        "settings": {
            "arguments": {key: str(value) if isinstance(value, Path) else value for key, value in asked.items()},
            "methods": {variant.name: variant.describe_settings() for variant in choice.variants},
        },
        "notes": bench.notes,
        "methods_left_out": dict(choice.left_out),
    }


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number
