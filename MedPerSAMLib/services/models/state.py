"""What is there of a model, and what to do if it is not."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from MedPerSAMLib.services.models.registry import ModelEntry


@dataclass(frozen=True)
class Record:
    """What is remembered of a file in the folder, in ``<file>.json`` beside it.

    Attributes:
        name: of the model.
        format: of the model, one of the registry's.
        sha256: of the whole file.
        bytes: size of the file when it was hashed.
        modified: its modification time in nanoseconds; as long as size and time agree, it is not hashed again.
    """

    name: str
    format: str
    sha256: str
    bytes: int
    modified: int

    @classmethod
    def of(cls, entry: ModelEntry, path: Path, checksum: str) -> Record:
        """The record of a file as it is now."""
        status = path.stat()
        return cls(entry.name, entry.format, checksum, status.st_size, status.st_mtime_ns)

    def fits(self, path: Path) -> bool:
        """Whether the file has not been touched since."""
        status = path.stat()
        return (self.bytes, self.modified) == (status.st_size, status.st_mtime_ns)

    def write(self, path: Path) -> None:
        """Write beside the model file ``path``."""
        record_file(path).write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")


def record_file(path: Path) -> Path:
    """Where the record of the model file ``path`` lies."""
    return path.with_name(path.name + ".json")


def read_record(path: Path) -> Record | None:
    """The record of the model file ``path``; None where there is none, or one that cannot be read."""
    try:
        record = Record(**json.loads(record_file(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None  # the file is then hashed again, as if it had never been
    kinds = (str, str, str, int, int)
    values = (record.name, record.format, record.sha256, record.bytes, record.modified)
    return record if all(isinstance(value, kind) for value, kind in zip(values, kinds)) else None


@dataclass(frozen=True)
class ModelState:
    """One line of the list of models.

    Attributes:
        entry: what it is.
        state: 'embedded', 'downloaded', 'imported', 'needs download', 'needs import', 'missing' or 'damaged'.
        path: the file, whether it exists or not.
        bytes: size of the file, or of the download; None where neither is known.
    """

    entry: ModelEntry
    state: str
    path: Path
    bytes: int | None

    @classmethod
    def of(cls, entry: ModelEntry, path: Path) -> ModelState:
        """What is there of ``entry`` at ``path``, told by the file's size alone."""
        if not path.is_file():
            return cls(entry, _word(entry, "missing", "needs download", "needs import"), path, entry.bytes)
        size = path.stat().st_size
        if entry.bytes not in (None, size):
            return cls(entry, "damaged", path, size)
        return cls(entry, _word(entry, "embedded", "downloaded", "imported"), path, size)

    @property
    def ready(self) -> bool:
        """Whether it can be loaded."""
        return self.state in ("embedded", "downloaded", "imported")

    @property
    def remedy(self) -> str:
        """One sentence that says what to do about a model that is not ready."""
        entry = self.entry
        if entry.embedded:
            return f"The embedded model file '{self.path}' is missing; install MedPerSAM again."
        if self.state == "damaged":
            return (
                f"The file '{self.path}' of model {entry.name} has {self.bytes} bytes instead of {entry.bytes}; remove "
                f"it with 'medpersam models remove {entry.name}' and get it again."
            )
        by_hand = f"'medpersam models import {entry.file} --name {entry.name}'"
        if entry.url:
            return (
                f"The model {entry.name} is not on this computer; get it with 'medpersam models download {entry.name}' "
                f"({(entry.bytes or 0) / 1e6:.0f} MB) or, offline, with {by_hand}."
            )
        source = f"get {entry.file} from {entry.page}" if entry.page else f"find {entry.file}"
        return f"The model {entry.name} is not on this computer; {source} and run {by_hand}."


def _word(entry: ModelEntry, embedded: str, downloadable: str, other: str) -> str:
    return embedded if entry.embedded else downloadable if entry.url else other
