"""The user's models on disk.

``<home>/models`` holds each downloaded checkpoint under its released file name and each imported one as
``<name><suffix>``; beside it ``<file>.json`` keeps the checksum that was verified or recorded.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.errors import ModelError
from MedPerSAMLib.services.home import home
from MedPerSAMLib.services.models.files import copy_whole, partial_file, sha256, writing
from MedPerSAMLib.services.models.registry import (
    EMBEDDED_FOLDER,
    REGISTRY,
    SUFFIXES,
    ModelEntry,
    of_format,
    unknown_model,
)
from MedPerSAMLib.services.models.state import ModelState, Record, read_record, record_file

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class ModelStore:
    """The models in one folder.

    Args:
        folder: ``home() / "models"`` unless given; created when something is put into it.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = home() / "models" if folder is None else Path(folder)

    def path(self, entry: ModelEntry) -> Path:
        """Where the file of an entry lies, whether it exists or not."""
        return (EMBEDDED_FOLDER if entry.embedded else self.folder) / entry.file

    def entries(self) -> dict[str, ModelEntry]:
        """The registry's entries, then the imported ones, by name; reads the small records only."""
        entries = dict(REGISTRY)
        for file in sorted(self.folder.glob("*.json")):
            record = read_record(file.with_suffix(""))
            base = None if record is None else of_format(record.format)
            if base is None or record.name in entries:
                continue
            entries[record.name] = dataclasses.replace(
                base,
                name=record.name,
                title=f"imported ({base.format} format)",
                licence="see its source",
                file=file.stem,
                url=None,
                page=None,
                embedded=False,
                sha256=record.sha256,
                bytes=record.bytes,
            )
        return entries

    def states(self) -> list[ModelState]:
        """Every model with what is there of it, in the registry's order."""
        return [ModelState.of(entry, self.path(entry)) for entry in self.entries().values()]

    def state(self, name: str) -> ModelState:
        """What is there of the model called ``name``.

        Raises:
            ModelError: no model is called so.
        """
        entries = self.entries()
        if name not in entries:
            raise unknown_model(name, entries)
        return ModelState.of(entries[name], self.path(entries[name]))

    def find(self, name_or_path: str | Path) -> ModelState | Path:
        """The model that a name or a path means; names win, ``./name`` is always a path.

        Raises:
            ModelError: no such name or file; the message says the nearest names, or how to get the model.
        """
        text = str(name_or_path)
        if text not in self.entries():
            path = Path(text).expanduser()
            if path.is_file():
                return path
            if path.suffix.lower() in SUFFIXES or path.name != text:
                raise ModelError(f"There is no model file '{text}'; check the path.")
        state = self.state(text)
        if not state.ready:
            raise ModelError(state.remedy)
        return state

    def checksum(self, state: ModelState, progress: Progress | None = None, again: bool = False) -> str:
        """SHA-256 of a model's file, checked against what the registry or the import says.

        Args:
            state: a model whose file exists.
            progress: told how many MB are hashed.
            again: hash even if the file has not been touched since it was last hashed.

        Raises:
            ModelError: the file differs.
        """
        record = None if state.entry.embedded else read_record(state.path)
        known = record is not None and not again and record.fits(state.path)
        found = record.sha256 if known else sha256(state.path, progress)
        expected = state.entry.sha256 or (found if record is None else record.sha256)
        if found != expected:
            raise ModelError(
                f"The file '{state.path}' of model {state.entry.name} has the SHA-256 {found[:12]}... instead of "
                f"{expected[:12]}...; delete that file and get the model again."
            )
        return found

    def register(self, entry: ModelEntry, checksum: str) -> ModelState:
        """Remember the verified checksum of an entry's file, which lies in the folder.

        Raises:
            OutputError: the record cannot be written.
        """
        path = self.path(entry)
        with writing(record_file(path)):
            Record.of(entry, path, checksum).write(path)
        return self.state(entry.name)

    def verify(self, name: str, progress: Progress | None = None) -> str:
        """Hash a model's file afresh and load it strictly; returns the SHA-256.

        Raises:
            ModelError: the model is not there, its file differs, or it does not fit.
        """
        from MedPerSAMLib.services.models.load import load_sam

        state = self.state(name)
        if not state.path.is_file():
            raise ModelError(state.remedy)
        found = self.checksum(state, progress, again=True)
        load_sam(state.path, state.entry)
        return found

    def import_model(self, path: str | Path, name: str | None = None, progress: Progress | None = None) -> ModelState:
        """Copy a checkpoint from this computer into the folder, after it has been loaded strictly.

        Args:
            path: a .pth, .pt or .safetensors file of a SAM.
            name: a registry name (its checksum must agree, where the registry has one) or a new name; by default the
                registry name whose file it is, or the file's name without its suffix.
            progress: told how many MB are hashed and copied.

        Raises:
            ModelError: the file is not a checkpoint that MedPerSAM knows, or the name is taken or not allowed.
            OutputError: the folder cannot be written.
        """
        from MedPerSAMLib.services.models.load import load_sam

        path = Path(path).expanduser()
        kind = load_sam(path)[1]
        found = sha256(path, progress)
        entry = _entry_for(path, name, kind, found)
        target = self.path(entry)
        if not (target.exists() and target.samefile(path)):
            copy_whole(path, target, progress)
        return self.register(entry, found)

    def remove(self, name: str) -> Path:
        """Delete a downloaded or imported model and what is left of an unfinished download; returns the model's file.

        Raises:
            ModelError: no such model, not there, or embedded.
            OutputError: the file cannot be deleted.
        """
        state = self.state(name)
        if state.entry.embedded:
            raise ModelError(f"The model {name} comes with MedPerSAM and cannot be removed; name a downloaded one.")
        files = [file for file in (state.path, partial_file(state.path), record_file(state.path)) if file.exists()]
        if not files:
            raise ModelError(f"The model {name} is not on this computer; the list of models shows which are.")
        with writing(state.path):
            for file in files:
                file.unlink()
        return state.path


def _entry_for(path: Path, name: str | None, kind: ModelEntry, found: str) -> ModelEntry:
    """The entry under which a file of format ``kind`` and checksum ``found`` is kept."""
    if name is None:
        same = (e.name for e in REGISTRY.values() if not e.embedded and (e.sha256 == found or e.file == path.name))
        name = next(same, path.stem)
    entry = REGISTRY.get(name)
    if entry is None:
        if not _NAME.fullmatch(name):
            raise ModelError(f"'{name}' cannot be a model's name; use letters, digits, '.', '_' and '-' only.")
        suffix = path.suffix.lower() if path.suffix.lower() in SUFFIXES else SUFFIXES[0]
        return dataclasses.replace(kind, name=name, file=name + suffix, url=None, embedded=False, sha256=found)
    if entry.embedded:
        raise ModelError(
            f"The name {name} belongs to the model that comes with MedPerSAM; choose another name or rename the file."
        )
    if entry.format != kind.format:
        raise ModelError(
            f"'{path}' has the format {kind.format}, but {name} needs {entry.format}; choose another name or rename the "
            "file."
        )
    if entry.sha256 not in (None, found):
        raise ModelError(
            f"'{path}' has the SHA-256 {found[:12]}... instead of {entry.sha256[:12]}... of the released {name}; get "
            "the file again, choose another name or rename the file."
        )
    return entry
