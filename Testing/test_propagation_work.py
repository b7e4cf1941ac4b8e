"""Sessions are kept between runs, and memory is given back before a smaller retry."""

from __future__ import annotations

import dataclasses
import types

import numpy as np

from MedPerSAMLib.core.task import Propagation, Reference
from MedPerSAMLib.services.jobs import FINISHED, NOTE, Jobs
from MedPerSAMLib.services.propagation_work import STRUCTURES, Order, SessionCache, propagate


class Listener:
    """Hears everything and never cancels."""

    def __init__(self) -> None:
        self.notes, self.slices, self.steps = [], [], []

    def step(self, phase, done, total) -> None:
        self.steps.append((phase, done, total))

    on_step = step

    def cancelled(self) -> bool:
        return False

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)

    def structure_slice(self, key, index, mask, confidence) -> None:
        self.slices.append((key, index))


class Method:
    """Remembers the sessions it was given; runs out of memory while slices are encoded several at a time."""

    def __init__(self, predictor=None) -> None:
        self.predictor, self.sessions = predictor, []

    def propagate(self, session, reference, progress, slices):
        self.sessions.append(session)
        progress.step("working", 0, 2)
        if self.predictor is not None and (self.predictor.batch > 1 or self.predictor.device != "cpu"):
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        mask = np.zeros(session.volume.array.shape, bool)
        everywhere = np.ones(len(mask), bool)
        return Propagation(mask, everywhere.astype(np.float32), everywhere, everywhere, ("done",))


def equipment(method, predictor=None, device="cpu"):
    return types.SimpleNamespace(
        method=method,
        predictor=predictor,
        warp_network=None,
        model_key="key",
        device=device,
        notes=("The CPU is used.",),
    )


def order(array, **changes) -> Order:
    mask = np.zeros(array.shape[1:], bool)
    mask[2:5, 2:5] = True
    values = {"array": array, "spacing": (1.0, 1.0, 1.0), "references": {"a": Reference({1: mask}, "a")}, "method": "m"}
    return Order(slices={"a": range(len(array))}, **{**values, **changes})


def test_same_volume_keeps_its_session():
    method = Method()
    cache = SessionCache(prepare=lambda *_: equipment(method))
    array = np.random.default_rng(0).integers(0, 99, (4, 8, 8), dtype=np.int16)
    listener = Listener()
    propagate(order(array), cache, listener)
    propagate(order(array.copy()), cache, listener)
    assert method.sessions[0] is method.sessions[1] and "done" in listener.notes
    changed = array.copy()
    changed[0, 0, 0] += 1
    propagate(order(changed), cache, listener)
    propagate(order(array, spacing=(2.0, 1.0, 1.0)), cache, listener)
    assert method.sessions[2] is not method.sessions[0] and method.sessions[3] is not method.sessions[0]


def test_several_structures_are_counted():
    array = np.zeros((4, 8, 8), np.int16)
    one = order(array)
    mask = one.references["a"].masks[1]
    several = order(array, references={key: Reference({1: mask}, key.upper()) for key in "ab"})
    several = dataclasses.replace(several, slices={key: range(4) for key in "ab"})
    cache = SessionCache(prepare=lambda *_: equipment(Method()))
    listener = Listener()
    propagate(several, cache, listener)
    propagate(one, cache, listener, before=2, count=3)  # another axis of the same run
    counted = [step for step in listener.steps if step[0] not in ("loading model", "reading volume")]
    assert counted == [
        (STRUCTURES, 0, 2),
        ("A (1 of 2): working", 0, 2),
        (STRUCTURES, 1, 2),
        ("B (2 of 2): working", 0, 2),
        (STRUCTURES, 2, 3),
        ("a (3 of 3): working", 0, 2),
    ]
    alone = Listener()
    propagate(one, cache, alone)
    assert alone.steps[2:] == [("working", 0, 2)]


def test_few_volumes_are_kept():
    method = Method()
    cache = SessionCache(limit=2, prepare=lambda *_: equipment(method))
    arrays = [np.full((3, 8, 8), n, np.int16) for n in range(3)]
    for array in (*arrays, arrays[0]):
        propagate(order(array), cache, Listener())
    assert method.sessions[3] is not method.sessions[0]


def test_another_file_under_the_same_name_is_loaded(tmp_path):
    file, loaded = tmp_path / "mine.safetensors", []
    cache = SessionCache(prepare=lambda *_: loaded.append(1) or equipment(Method()))
    for content, loads in ((b"one", 1), (b"one", 1), (b"other", 2)):
        if not file.exists() or file.read_bytes() != content:
            file.write_bytes(content)
        cache.equipment(order(np.zeros((3, 8, 8), np.int16), model=str(file)))
        assert len(loaded) == loads


def test_memory_retry_encodes_fewer_at_a_time():
    predictor = types.SimpleNamespace(batch=8, device="cpu")
    method = Method(predictor)
    cache = SessionCache(prepare=lambda *_: equipment(method, predictor))
    jobs = Jobs(cache.make_smaller)
    array = np.zeros((3, 8, 8), np.int16)
    jobs.submit(lambda progress: propagate(order(array), cache, progress))
    kinds, notes = _news(jobs)
    assert kinds[-1] == FINISHED and "Memory ran out, so slices are now encoded one at a time." in notes
    jobs.close()


def test_memory_retry_leaves_the_gpu():
    made = []

    def prepare(_method, _task, _model, device):
        predictor = types.SimpleNamespace(batch=1, device="cuda" if device == "auto" else device)
        made.append(predictor.device)
        return equipment(Method(predictor), predictor, predictor.device)

    cache = SessionCache(prepare=prepare)
    jobs = Jobs(cache.make_smaller)
    array = np.zeros((3, 8, 8), np.int16)
    jobs.submit(lambda progress: propagate(order(array), cache, progress))
    kinds, notes = _news(jobs)
    assert (
        kinds[-1] == FINISHED and made == ["cuda", "cpu"] and "The GPU's memory ran out, so the CPU is used." in notes
    )
    assert cache.make_smaller() is None, "nothing smaller is left"
    assert cache.too_large(None, "auto") and not cache.too_large("another", "auto") and not cache.too_large(None, "cuda")
    cache.clear()
    assert not cache.too_large(None, "auto")
    jobs.close()


def _news(jobs: Jobs) -> tuple[list[str], list[str]]:
    import time

    kinds, notes, end = [], [], time.monotonic() + 30
    while time.monotonic() < end and (not kinds or kinds[-1] not in ("finished", "failed", "cancelled")):
        news = jobs.next_news()
        if news is None:
            time.sleep(0.005)
            continue
        kinds.append(news.kind)
        if news.kind == NOTE:
            notes.append(news.content)
    return kinds, notes
