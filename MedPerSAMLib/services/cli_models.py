"""``medpersam models``: list, download, verify, import and remove models."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from MedPerSAMLib.errors import InputError
from MedPerSAMLib.services.embedding_store import DiskEmbeddingStore
from MedPerSAMLib.services.interrupt import EXIT_CODE
from MedPerSAMLib.services.models.registry import DEFAULT
from MedPerSAMLib.services.models.state import ModelState
from MedPerSAMLib.services.models.store import ModelStore
from MedPerSAMLib.services.terminal import TerminalProgress


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add ``models`` and its five actions; each sets ``run``, a function from the arguments to an exit code."""
    models = subparsers.add_parser("models", help="list, download, verify, import and remove models")
    actions = models.add_subparsers(dest="action", metavar="ACTION", required=True)

    listing = actions.add_parser("list", help="which models there are, and which are on this computer")
    listing.set_defaults(run=list_models)

    fetching = actions.add_parser("download", help="download a released model and check its SHA-256")
    fetching.add_argument("name", metavar="NAME")
    fetching.set_defaults(run=download_model)

    checking = actions.add_parser("verify", help="hash and load models (all that are on this computer unless named)")
    checking.add_argument("names", metavar="NAME", nargs="*")
    checking.set_defaults(run=verify_models)

    importing = actions.add_parser("import", help="copy a checkpoint from this computer, for use offline")
    importing.add_argument("file", metavar="FILE", help="a .pth, .pt or .safetensors file of a SAM")
    importing.add_argument("--name", help="what to call it (default: the released model's name, else the file's)")
    importing.set_defaults(run=import_model)

    removing = actions.add_parser("remove", help="delete a downloaded or imported model, or the kept embeddings")
    removing.add_argument("name", metavar="NAME", nargs="?")
    removing.add_argument(
        "--embeddings", action="store_true", help="delete what 'medpersam segment --keep-embeddings' keeps on disk"
    )
    removing.set_defaults(run=remove_model)


def list_models(arguments: argparse.Namespace) -> int:
    """Print a table of all models, and how much disk space kept embeddings take."""
    store = ModelStore()
    header = ("MODEL", "WHAT", "SIZE", "LICENCE", "STATE", "FILE")
    rows = [_row(state) for state in store.states()]
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    for row in (header, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    embeddings = DiskEmbeddingStore()
    if used := embeddings.used_bytes():
        print(
            f"Kept embeddings take {_megabytes(used)} in {embeddings.folder}; 'medpersam models remove --embeddings' "
            "deletes them."
        )
    print(f"* is used unless --model names another. Your models lie in {store.folder}")
    return 0


def download_model(arguments: argparse.Namespace) -> int:
    """Download one model."""
    from MedPerSAMLib.services.models.download import download

    try:
        with _progress(arguments.name) as progress:
            state = download(arguments.name, progress=progress)
    except KeyboardInterrupt:
        print("medpersam: stopped; the same command goes on where the download stopped.", file=sys.stderr)
        return EXIT_CODE
    print(f"{state.entry.name} is ready: {state.path} ({state.entry.licence} licence)")
    return 0


def verify_models(arguments: argparse.Namespace) -> int:
    """Hash and load the named models, or all that are there."""
    store = ModelStore()
    present = [state.entry.name for state in store.states() if state.path.is_file()]
    for name in arguments.names or present:
        with _progress(name) as progress:
            checksum = store.verify(name, progress)
        print(f"{name} is intact: SHA-256 {checksum}")
    return 0


def import_model(arguments: argparse.Namespace) -> int:
    """Copy a checkpoint into the folder."""
    with _progress(arguments.file) as progress:
        state = ModelStore().import_model(arguments.file, arguments.name, progress)
    print(f"{state.entry.name} is ready ({state.entry.format} format): {state.path}")
    return 0


def remove_model(arguments: argparse.Namespace) -> int:
    """Delete a model, the kept embeddings, or both.

    Raises:
        InputError: neither was named.
        ModelError: the model cannot be removed.
        OutputError: an embedding cannot be deleted.
    """
    if not arguments.name and not arguments.embeddings:
        raise InputError("Nothing to remove is named; give a NAME of 'medpersam models list', or --embeddings.")
    if arguments.name:
        print(f"Removed {ModelStore().remove(arguments.name)}")
    if arguments.embeddings:
        embeddings = DiskEmbeddingStore()
        print(f"Removed the kept embeddings in {embeddings.folder}: {_megabytes(embeddings.clear())} freed")
    return 0


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def _row(state: ModelState) -> Sequence[str]:
    entry = state.entry
    name = entry.name + " *" * (entry.name == DEFAULT)
    size = "?" if state.bytes is None else f"{state.bytes / 1e6:.0f} MB"
    return name, entry.title, size, entry.licence, state.state, str(state.path) if state.path.is_file() else "-"


@contextmanager
def _progress(subject: str) -> Iterator[TerminalProgress]:
    """Progress under ``subject``, taken away from the terminal at the end."""
    progress = TerminalProgress()
    progress.subject = subject
    try:
        yield progress
    finally:
        progress.clear()
