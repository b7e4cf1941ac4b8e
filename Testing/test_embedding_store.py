"""Embeddings on disk: found again, bounded, never wrong."""

import errno
import os

import numpy as np
import pytest
import torch

from MedPerSAMLib.core.embeddings import Embedder
from MedPerSAMLib.core.frame import Frame
from MedPerSAMLib.errors import OutputError
from MedPerSAMLib.services.embedding_store import DiskEmbeddingStore

FRAME = Frame(64, (0.0, 0.0), (1.0, 1.0))
ENTRY_BYTES = 4 * 8 * 8 * 2


def key(index, content="volume tiny"):
    return (content, index, FRAME)


def embedding(seed=0):
    return torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def store(tmp_path):
    return DiskEmbeddingStore(tmp_path / "embeddings")


def files(store):
    return sorted(store.folder.glob("*"))


def test_gives_back_what_was_put_in_half_precision(store):
    store.put(key(3), embedding())
    found = store.get(key(3))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, embedding().half().float(), rtol=0, atol=0)
    assert DiskEmbeddingStore(store.folder).get(key(3)) is not None


@pytest.mark.parametrize(
    "other",
    [key(4), key(3, "another volume"), ("volume tiny", 3, Frame(64, (0.5, 0.0), (1.0, 1.0)))],
    ids=["slice", "content", "frame"],
)
def test_other_keys_are_not_there(store, other):
    store.put(key(3), embedding())
    assert store.get(other) is None


def test_least_recently_used_go_first(tmp_path):
    store = DiskEmbeddingStore(tmp_path)
    for index in range(5):
        store.put(key(index), embedding(index))
        os.utime(store._path(key(index)), ns=(index * 10**9, index * 10**9))
    assert store.get(key(0)) is not None  # so 1 is now the least recently used
    store.limit_bytes = store.used_bytes() + 10
    store.put(key(6), embedding(6))
    assert store.used_bytes() <= store.limit_bytes
    assert store.get(key(1)) is None
    assert store.get(key(0)) is not None and store.get(key(6)) is not None


def test_limit_holds_over_many_entries_and_restarts(tmp_path):
    for start in (0, 20):
        store = DiskEmbeddingStore(tmp_path, limit_bytes=5000)
        for index in range(start, start + 20):
            store.put(key(index), embedding(index))
            assert store.used_bytes() <= 5000


def test_an_entry_beyond_the_limit_is_not_kept(tmp_path):
    store = DiskEmbeddingStore(tmp_path, limit_bytes=100)
    store.put(key(0), embedding())
    assert store.get(key(0)) is None and store.used_bytes() == 0


def flip(content, position):
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-10],
        lambda content: content[:20],
        lambda content: b"\0" * len(content),
        lambda content: b"no embedding",
        lambda content: flip(content, len(content) - 5),
        lambda content: flip(content, 30),
    ],
    ids=["empty", "truncated", "header only", "zeros", "text", "bit in the values", "bit in the header"],
)
def test_damaged_entries_are_dropped_and_made_again(store, damage):
    store.put(key(0), embedding())
    (path,) = files(store)
    path.write_bytes(damage(path.read_bytes()))
    assert store.get(key(0)) is None
    assert files(store) == []
    store.put(key(0), embedding())
    assert store.get(key(0)) is not None


def test_an_entry_of_another_key_is_not_given(store):
    store.put(key(0), embedding())
    os.replace(store._path(key(0)), store._path(key(1)))
    assert store.get(key(1)) is None


def test_clear(store):
    store.put(key(0), embedding())
    (store.folder / "left.partial").write_bytes(b"x" * 10)
    used = store.used_bytes()
    assert store.clear() == used > ENTRY_BYTES
    assert store.get(key(0)) is None and files(store) == []
    assert DiskEmbeddingStore(store.folder / "never made").clear() == 0


def test_an_entry_that_cannot_be_deleted_is_named(store, monkeypatch):
    store.put(key(0), embedding())

    def refuse(*arguments, **options):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(type(store.folder), "unlink", refuse)
    with pytest.raises(OutputError, match=r"safetensors' cannot be deleted \(Permission denied\); close what uses it"):
        store.clear()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_folder_that_cannot_be_written_is_told_once(tmp_path, monkeypatch, code):
    notes = []
    store = DiskEmbeddingStore(tmp_path, note=notes.append)

    def refuse(*arguments):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "replace", refuse)
    store.put(key(0), embedding())
    store.put(key(1), embedding())
    assert len(notes) == 1 and str(tmp_path) in notes[0] and os.strerror(code) in notes[0]
    assert files(store) == []


def test_default_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDPERSAM_HOME", str(tmp_path))
    assert DiskEmbeddingStore().folder == tmp_path / "embeddings"


class CountingPredictor:
    """Stands in for a Predictor and counts the frames that it encodes."""

    device = torch.device("cpu")
    batch = 2

    def __init__(self):
        self.encoded = 0

    def encode(self, frames):
        self.encoded += len(frames)
        return frames.mean(dim=(2, 3), keepdim=True).expand(-1, 4, 8, 8)


def test_a_second_run_encodes_nothing(store):
    stack = np.random.default_rng(0).random((5, 64, 64), dtype=np.float32)
    first, second = CountingPredictor(), CountingPredictor()
    one = Embedder(first, stack, "volume", store).embed(range(5), FRAME)
    two = Embedder(second, stack, "volume", DiskEmbeddingStore(store.folder)).embed(range(5), FRAME)
    assert (first.encoded, second.encoded) == (5, 0)
    torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-3)
