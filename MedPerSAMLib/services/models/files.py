"""Large files, put in place whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.errors import OutputError

CHUNK = 1 << 20
"""Bytes handled between two looks at the cancel button."""

MEGABYTE = 10**6
"""What progress counts in."""


def partial_file(target: Path) -> Path:
    """Where a file grows until it is complete and verified."""
    return target.with_name(target.name + ".partial")


def sha256(path: Path, progress: Progress | None = None) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    digest, done, total = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            done += len(chunk)
            if progress is not None:
                progress.step("checking (MB)", done // MEGABYTE, total // MEGABYTE)
    return digest.hexdigest()


def copy_whole(source: Path, target: Path, progress: Progress | None = None) -> None:
    """Copy a file so that ``target`` is either the whole copy or as it was before.

    Raises:
        OutputError: it cannot be written; nothing is left behind.
    """
    partial, total = partial_file(target), source.stat().st_size
    with writing(target):
        require_space(target.parent, total)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with source.open("rb") as file, partial.open("wb") as out:
                while chunk := file.read(CHUNK):
                    out.write(chunk)
                    if progress is not None:
                        progress.step("copying (MB)", out.tell() // MEGABYTE, total // MEGABYTE)
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)


def require_space(folder: Path, needed: int) -> None:
    """Raise the operating system's own error for a full disk before ``needed`` bytes are written in vain.

    Args:
        folder: where they would go; need not exist yet.
        needed: bytes.
    """
    while not folder.exists():
        folder = folder.parent
    if shutil.disk_usage(folder).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write ``target`` into one sentence with the remedy.

    Raises:
        OutputError: in place of any other OSError.
    """
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        if error.errno == errno.ENOSPC:
            remedy = "free some space there or let MEDPERSAM_HOME name a folder on another disk"
            raise OutputError(f"No space is left for '{target}'; {remedy}.") from error
        raise OutputError(
            f"'{target}' cannot be written ({error.strerror or error}); close what uses it, or let MEDPERSAM_HOME name "
            "a folder that you may write to."
        ) from error
