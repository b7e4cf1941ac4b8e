"""A released model from its server into the user's folder.

The file grows as ``<file>.partial`` and takes its name only when size and SHA-256 agree. What is partial is kept when
the line breaks or the user cancels, and the next download goes on from there; it is removed when the disk is full or
the checksum is wrong.
"""

from __future__ import annotations

import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.errors import ModelError, OutputError
from MedPerSAMLib.services.models.files import CHUNK, MEGABYTE, partial_file, require_space, sha256, writing
from MedPerSAMLib.services.models.state import ModelState
from MedPerSAMLib.services.models.store import ModelStore

TIMEOUT_SECONDS = 30
"""Longest silence of a server."""


class Answer(Protocol):
    """What of an HTTP answer is used."""

    status: int

    def read(self, amount: int) -> bytes:
        """Up to ``amount`` bytes; none at the end."""

    def close(self) -> None:
        """Hang up."""


Opener = Callable[[str, int], Answer]
"""(url, first byte) -> answer; status 200 gives the whole file, 206 the rest from the first byte."""


def download(
    name: str, store: ModelStore | None = None, progress: Progress | None = None, opener: Opener | None = None
) -> ModelState:
    """Download a released model; returns at once where it is already there.

    Args:
        name: of the registry.
        store: the folder to put it into; the default folder unless given.
        progress: told the megabytes that have come, and asked whether to stop.
        opener: asks the server; https only unless given.

    Raises:
        ModelError: unknown name, no download for it, no connection, or what came is not the released file.
        OutputError: no space or no permission.
        Cancelled: by ``progress``.
    """
    store = ModelStore() if store is None else store
    state = store.state(name)
    if state.ready:
        return state
    entry = state.entry
    if entry.url is None or entry.bytes is None or entry.sha256 is None:
        raise ModelError(state.remedy)
    fetch(entry.url, state.path, entry.bytes, entry.sha256, progress, opener or open_https)
    return store.register(entry, entry.sha256)


def fetch(
    url: str, target: Path, size: int, checksum: str, progress: Progress | None = None, opener: Opener | None = None
) -> None:
    """Download ``url`` to ``target``, which appears only if it has ``size`` bytes and the SHA-256 ``checksum``.

    Raises:
        ModelError, OutputError, Cancelled: as for :func:`download`.
    """
    opener = open_https if opener is None else opener
    partial = partial_file(target)
    with writing(target):
        if partial.exists() and partial.stat().st_size > size:
            partial.unlink()
        done = partial.stat().st_size if partial.exists() else 0
        require_space(target.parent, size - done)
    if done < size:
        answer = _ask(opener, url, done)
        try:
            _receive(answer, url, partial, done if answer.status == http.client.PARTIAL_CONTENT else 0, size, progress)
        finally:
            answer.close()
    found = sha256(partial, progress)
    if found != checksum:
        partial.unlink()
        raise ModelError(
            f"What came from {url} has the SHA-256 {found[:12]}... instead of {checksum[:12]}... and was deleted; try "
            "again, and if it happens again, another network."
        )
    with writing(target):
        os.replace(partial, target)


def open_https(url: str, first: int) -> Answer:
    """Ask for a file from byte ``first`` on, over https only, also after redirections."""
    request = urllib.request.Request(url, headers={"User-Agent": "MedPerSAM", "Accept-Encoding": "identity"})
    if first:
        request.add_header("Range", f"bytes={first}-")
    if request.type != "https":
        raise ModelError(f"{url} is not an https address, so nothing was asked for; use the address in the registry.")
    return urllib.request.build_opener(_HttpsOnly).open(request, timeout=TIMEOUT_SECONDS)


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req, fp, code, msg, headers, newurl):
        if not newurl.startswith("https://"):
            raise urllib.error.URLError(f"redirected to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _ask(opener: Opener, url: str, first: int) -> Answer:
    try:
        return opener(url, first)
    except urllib.error.HTTPError as error:
        raise ModelError(
            f"The server answered {error.code} ({error.reason}) for {url}; try again later, or get the file elsewhere "
            "and import it, under Model files or with 'models import'."
        ) from error
    except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
        raise _no_connection(url, error, "Nothing was downloaded") from error


def _receive(answer: Answer, url: str, partial: Path, done: int, size: int, progress: Progress | None) -> None:
    """Write what comes behind the first ``done`` bytes of the partial file, until it has ``size`` bytes."""
    try:
        with writing(partial):
            partial.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("r+b" if done else "wb") as out:
                out.seek(done)
                out.truncate()
                while done < size:
                    if progress is not None:
                        progress.step("downloading (MB)", done // MEGABYTE, size // MEGABYTE)
                    # One byte more than is due shows that the server sends another, longer file.
                    chunk = _read(answer, url, min(CHUNK, size - done + 1), done)
                    if not chunk:
                        raise _no_connection(url, None, f"Only {done} of {size} bytes came")
                    done += out.write(chunk)
    except OutputError:
        partial.unlink(missing_ok=True)
        raise
    if done > size:
        partial.unlink()
        raise ModelError(
            f"The server sends more than the {size} bytes of {url}; it is another file, so it was deleted."
        )


def _read(answer: Answer, url: str, amount: int, done: int) -> bytes:
    try:
        return answer.read(amount)
    except (OSError, http.client.HTTPException) as error:
        raise _no_connection(url, error, f"The connection broke after {done} bytes") from error


def _no_connection(url: str, error: Exception | None, what: str) -> ModelError:
    reason = "" if error is None else f" ({getattr(error, 'reason', None) or error or type(error).__name__})"
    return ModelError(
        f"{what} from {url}{reason}; check the connection and run the download again, which goes on where it stopped, "
        "or get the file elsewhere and import it, under Model files or with 'models import'."
    )
