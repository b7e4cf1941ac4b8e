"""Embeddings of slices, each computed once per frame and kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from MedPerSAMLib.core.frame import Frame
from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.core.sam.predictor import Predictor

Key = tuple[str, int, Frame]
"""(content, slice index, frame); ``content`` names the images' content and the model."""


class EmbeddingStore(Protocol):
    """Where embeddings are kept: in memory here, on disk with a size limit in ``services.embedding_store``."""

    def get(self, key: Key) -> torch.Tensor | None:
        """The (C, e, e) embedding under ``key``, or None."""

    def put(self, key: Key, embedding: torch.Tensor) -> None:
        """Keep a (C, e, e) embedding."""


class MemoryStore:
    """Keeps embeddings in half precision, oldest out first.

    Args:
        limit_bytes: most memory to use.
    """

    def __init__(self, limit_bytes: int = 1_000_000_000) -> None:
        self._limit, self._used = limit_bytes, 0
        self._kept: dict[Key, torch.Tensor] = {}

    def get(self, key: Key) -> torch.Tensor | None:
        kept = self._kept.get(key)
        return None if kept is None else kept.float()

    def put(self, key: Key, embedding: torch.Tensor) -> None:
        half = embedding.half()
        if key not in self._kept:
            self._used += half.nbytes
        self._kept[key] = half
        while self._used > self._limit and len(self._kept) > 1:
            self._used -= self._kept.pop(next(iter(self._kept))).nbytes


class Embedder:
    """Encodes frames of a stack of slices in batches and remembers them.

    Args:
        predictor: the frozen SAM.
        stack: (n, rows, columns) or (n, rows, columns, 3) float32 in 0..1.
        content: a name of the stack's content and the model, for the store's keys.
        store: where embeddings are kept.
    """

    def __init__(
        self, predictor: Predictor, stack: np.ndarray, content: str = "", store: EmbeddingStore | None = None
    ) -> None:
        self._predictor, self._stack, self._content = predictor, stack, content
        self._store = MemoryStore() if store is None else store

    def frames(self, indices: Sequence[int], frame: Frame) -> torch.Tensor:
        """(len(indices), 1 or 3, size, size) frames in 0..1; black outside the slice."""
        chosen = torch.from_numpy(np.ascontiguousarray(self._stack[list(indices)]))
        return frame.sample(chosen[:, None] if chosen.ndim == 3 else chosen.permute(0, 3, 1, 2))

    def embed(self, indices: Sequence[int], frame: Frame, progress: Progress | None = None) -> torch.Tensor:
        """(len(indices), C, e, e) float32 embeddings; slices embedded before are not encoded again."""
        return self.embed_each([(index, frame) for index in indices], progress)

    def embed_each(self, seen: Sequence[tuple[int, Frame]], progress: Progress | None = None) -> torch.Tensor:
        """As :meth:`embed` for (slice index, frame), each slice in its own frame; what is missing is encoded in batches."""
        keys = [(self._content, int(index), frame) for index, frame in seen]
        found = {key: self._store.get(key) for key in keys}
        missing = [key for key in dict.fromkeys(keys) if found[key] is None]
        for start in range(0, len(missing), self._predictor.batch):
            part = missing[start : start + self._predictor.batch]
            if progress is not None:
                progress.step("encoding slices", start, len(missing))
            frames = torch.cat([self.frames([index], frame) for _, index, frame in part])
            for key, embedding in zip(part, self._predictor.encode(frames)):
                # Half precision, as stores keep it, so that a first and a second run see the same numbers.
                found[key] = embedding.half().float()
                self._store.put(key, found[key])
        return torch.stack([found[key].to(self._predictor.device) for key in keys])
