"""The list of models: which are there, what they weigh, under which licence, and how to get or remove one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from MedPerSAMLib.errors import MedPerSAMError
from MedPerSAMLib.mrml.signal import Signal
from MedPerSAMLib.services.models.download import download
from MedPerSAMLib.services.models.state import ModelState
from MedPerSAMLib.services.models.store import ModelStore


@dataclass(frozen=True)
class ModelRow:
    """One line of the list.

    Attributes:
        name: what the method is given.
        text: name, size and mark for people.
        details: licence, state and remedy.
        ready: whether it can be used now.
        can_download: whether a press on Download gets it.
    """

    name: str
    text: str
    details: str
    ready: bool
    can_download: bool


class ModelPresenter:
    """Reads and changes the user's models; long work is handed to ``start_job``.

    Args:
        start_job: runs ``work(progress)`` in the background and calls ``done(sentence)`` at its end, on the main
            thread; returns False while something else is running.
        store: the user's models; the default folder unless given.
    """

    def __init__(self, start_job: Callable[[Callable, str, Callable], bool], store: ModelStore | None = None) -> None:
        self.changed = Signal()
        self.status = ""
        self._start_job, self._store = start_job, ModelStore() if store is None else store
        self.rows: list[ModelRow] = []
        self.refresh()

    @property
    def folder(self) -> str:
        """Where downloaded and imported models lie."""
        return str(self._store.folder)

    def refresh(self) -> None:
        """Read the folder again; only file sizes are looked at."""
        self.rows = [_row(state) for state in self._store.states()]
        self.changed.emit()

    def row(self, name: str) -> ModelRow:
        """The row of a model; one that only says what to do for a name that is not, or no longer, there."""
        return next((row for row in self.rows if row.name == name), _unknown_row(name))

    def reason(self, name: str) -> str:
        """Why a model cannot be used, and what to do; empty where it can."""
        if all(row.name != name for row in self.rows):
            return self.row(name).details
        return "" if self.row(name).ready else f"The model {name} is not there yet: press Download or Import."

    def download(self, name: str) -> None:
        """Get a released model in the background; its checksum is verified before it appears."""
        row = self.row(name)
        if not row.can_download:
            self.status = f"{name} needs no download." if row.ready else f"{name} has no download; import its file."
            self.changed.emit()
            return
        self._run(lambda progress: download(name, self._store, progress).entry.name, f"Downloading {name}")

    def import_file(self, path: str) -> None:
        """Copy a checkpoint file into the folder, after reading it as strictly as any other."""
        if not path.strip():
            self.status = "Choose a checkpoint file first."
            self.changed.emit()
            return
        self._run(lambda progress: self._store.import_model(path, progress=progress).entry.name, f"Importing {path}")

    def clear_question(self) -> str:
        """What to ask before :meth:`clear`; empty where it would remove nothing."""
        there = self._removable()
        if not there:
            return ""
        names, size = ", ".join(state.entry.name for state in there), sum(state.path.stat().st_size for state in there)
        return f"Remove {names} ({_megabytes(size)}) from {self.folder}? They must be downloaded or imported again."

    def clear(self) -> None:
        """Remove every downloaded and imported model."""
        removed = []
        try:
            for state in self._removable():
                self._store.remove(state.entry.name)
                removed.append(state.entry.name)
            self.status = f"Removed {', '.join(removed)}." if removed else "There was nothing to remove."
        except MedPerSAMError as error:
            self.status = str(error)
        self.refresh()

    def _removable(self) -> list[ModelState]:
        return [state for state in self._store.states() if state.path.exists() and not state.entry.embedded]

    def _run(self, work: Callable, title: str) -> None:
        if self._start_job(work, title, self._done):
            self.status = f"{title} ..."
        else:
            self.status = "Wait until the current work has ended."
        self.changed.emit()

    def _done(self, sentence: str) -> None:
        self.status = sentence
        self.refresh()


def _row(state: ModelState) -> ModelRow:
    size = "" if state.bytes is None else f", {_megabytes(state.bytes)}"
    mark = "" if state.ready else f" - {state.state}"
    details = f"{state.entry.title}. Licence: {state.entry.licence}. {state.state.capitalize()}."
    if not state.ready:
        details += f" {_remedy(state)}"
    return ModelRow(
        state.entry.name,
        f"{state.entry.name}{size}{mark}",
        details,
        state.ready,
        state.entry.url is not None and not state.ready,
    )


def _unknown_row(name: str) -> ModelRow:
    details = f"The model {name!r} is not known on this computer; import it under Model files, or choose another."
    return ModelRow(name, f"{name} - not on this computer", details, False, False)


def _remedy(state: ModelState) -> str:
    """What to press; ``state.remedy`` names commands instead."""
    entry = state.entry
    if entry.embedded:
        return "Install MedPerSAM again."
    if entry.url:
        return "Press Download, or Import a file under Model files."
    source = f"Get {entry.file} from {entry.page}" if entry.page else f"Find {entry.file}"
    return f"{source} and Import it under Model files."


def _megabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(1, round(count / 1e6))} MB"
