"""Several files that are written all or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from MedPerSAMLib.errors import OutputError


@contextlib.contextmanager
def written_together(paths: Iterable[Path], folder: Path | None = None) -> Iterator[None]:
    """While entered, files may be written; where anything fails, all of them and the folder are as they were before.

    Args:
        paths: the files. Whoever writes them puts a new file into the place of an old one, as all writers here do.
        folder: made where it is missing.

    Raises:
        OutputError: the folder cannot be made, or an older file cannot be kept until the new ones are written.
    """
    paths = list(paths)
    new = [path for path in paths if not os.path.exists(path)]
    kept: dict[Path, Path] = {}
    made = [] if folder is None else [place for place in (folder, *folder.parents) if not os.path.exists(place)]
    try:
        if folder is not None:
            _make(folder)
        for path in paths:
            if path not in new:
                kept[path] = _keep(path)
        yield
    except BaseException:
        for path in new:
            path.unlink(missing_ok=True)
        for path, before in kept.items():
            _put_back(path, before)
        for place in made:
            # Somebody else may have put something into it.
            with contextlib.suppress(OSError):
                place.rmdir()
        raise
    for before in kept.values():
        before.unlink(missing_ok=True)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {folder} cannot be made: {error.strerror}; choose another one.") from error


def _keep(path: Path) -> Path:
    """A second name for the file's content; a copy on disks that know no second names."""
    before = path.with_name(f".{path.name}.{os.getpid()}.before")
    try:
        before.unlink(missing_ok=True)
        try:
            os.link(path, before)
        except OSError:
            shutil.copy2(path, before)
    except OSError as error:
        before.unlink(missing_ok=True)
        raise OutputError(f"{path} cannot be replaced: {error.strerror}; free space or choose another folder.") from error
    return before


def _put_back(path: Path, before: Path) -> None:
    try:
        os.replace(before, path)
        # Where nothing was written yet, both names mean one file, and replacing leaves both.
        before.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path} cannot be put back: {error.strerror}; its former content is {before}.") from error
