"""Embeddings on disk, so that a volume that is opened again needs no encoding."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from MedPerSAMLib.errors import OutputError
from MedPerSAMLib.services.home import home

if TYPE_CHECKING:
    import torch

    from MedPerSAMLib.core.embeddings import Key

_SUFFIX = ".safetensors"
# After the limit is reached room is made for several entries at once, because making room reads the folder.
_SHARE_KEPT = 0.9


class DiskEmbeddingStore:
    """Keeps embeddings in half precision, one file each, least recently used out first.

    Each file carries its key and the checksum of its values; what does not agree is deleted and reported as not there,
    so that it is made again. Where the folder cannot be written the user is told once and nothing is kept.

    Args:
        folder: ``home() / "embeddings"`` unless given; created with the first entry.
        limit_bytes: most disk space to use.
        note: told, once, the sentence that nothing can be kept; the log unless given.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        limit_bytes: int = 4_000_000_000,
        note: Callable[[str], None] | None = None,
    ) -> None:
        self.folder = home() / "embeddings" if folder is None else Path(folder)
        self.limit_bytes = limit_bytes
        self._note = logging.getLogger(__name__).warning if note is None else note
        self._used: int | None = None
        self._writable = True

    def get(self, key: Key) -> torch.Tensor | None:
        """The (C, e, e) float32 embedding under ``key``, or None."""
        path = self._path(key)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        embedding = _unpack(content, repr(key))
        with contextlib.suppress(OSError):  # another process may have removed it in between
            if embedding is None:
                path.unlink()
                self._used = None
            else:
                os.utime(path)
        return None if embedding is None else embedding.float()

    def put(self, key: Key, embedding: torch.Tensor) -> None:
        """Keep a (C, e, e) embedding."""
        if not self._writable:
            return
        try:
            self._write(self._path(key), _pack(embedding, repr(key)))
        except OSError as error:
            self._writable = False
            self._note(
                f"Embeddings are not kept in '{self.folder}' ({error.strerror or error}); the result is the same, and "
                "the next run takes as long as this one."
            )

    def clear(self) -> int:
        """Delete every entry; returns the bytes that were freed.

        Raises:
            OutputError: an entry cannot be deleted.
        """
        freed = 0
        self._used = None
        for _, size, path in self._entries():
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise OutputError(
                    f"'{path}' cannot be deleted ({error.strerror or error}); close what uses it and try again."
                ) from error
            freed += size
        return freed

    def used_bytes(self) -> int:
        """Disk space in use."""
        return sum(size for _, size, _ in self._entries())

    def _path(self, key: Key) -> Path:
        return self.folder / (hashlib.sha256(repr(key).encode()).hexdigest()[:40] + _SUFFIX)

    def _write(self, path: Path, content: bytes) -> None:
        if len(content) > self.limit_bytes:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._used is None:
            self._used = self.used_bytes()
        if self._used + len(content) > self.limit_bytes:
            self._make_room(len(content))
        handle, unfinished = tempfile.mkstemp(dir=self.folder, suffix=".partial")
        try:
            with open(handle, "wb") as file:
                file.write(content)
            os.replace(unfinished, path)
        finally:
            Path(unfinished).unlink(missing_ok=True)
        self._used += len(content)

    def _make_room(self, needed: int) -> None:
        entries = self._entries()
        used = sum(size for _, size, _ in entries)
        aim = min(self.limit_bytes - needed, int(self.limit_bytes * _SHARE_KEPT))
        for _, size, path in entries:
            if used <= aim:
                break
            path.unlink(missing_ok=True)
            used -= size
        self._used = used

    def _entries(self) -> list[tuple[int, int, Path]]:
        """(time of last use in ns, bytes, file) of every entry and of what a killed process left, oldest first."""
        entries = []
        for path in [*self.folder.glob("*" + _SUFFIX), *self.folder.glob("*.partial")]:
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                entries.append((status.st_mtime_ns, status.st_size, path))
        return sorted(entries)


def _pack(embedding: torch.Tensor, key: str) -> bytes:
    from safetensors.torch import save

    half = embedding.detach().to("cpu").half().contiguous()
    return save({"embedding": half}, {"key": key, "crc32": str(_crc32(half))})


def _unpack(content: bytes, key: str) -> torch.Tensor | None:
    """The half precision embedding, or None where the content is damaged or belongs to another key."""
    import json

    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        metadata = header["__metadata__"]
        embedding = load(content)["embedding"]
        intact = metadata["key"] == key and int(metadata["crc32"]) == _crc32(embedding)
    except (SafetensorError, LookupError, TypeError, ValueError, RuntimeError):
        return None
    return embedding if intact else None


def _crc32(embedding: torch.Tensor) -> int:
    return zlib.crc32(embedding.numpy().tobytes())
