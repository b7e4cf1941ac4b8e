"""A method for tests that takes its time, so that a user's actions fall into the middle of a run."""

from __future__ import annotations

import time

from MedPerSAMLib.core.methods.copy_reference import CopyReference
from MedPerSAMLib.core.progress import Progress


class _Slowly(Progress):
    def __init__(self, listener: Progress, seconds: float) -> None:
        self._listener, self._seconds = listener, seconds

    def cancelled(self) -> bool:
        return self._listener.cancelled()

    def on_step(self, phase: str, done: int, total: int) -> None:
        self._listener.on_step(phase, done, total)

    def slice_done(self, index, mask, confidence) -> None:
        time.sleep(self._seconds)
        self._listener.slice_done(index, mask, confidence)

    def note(self, sentence: str) -> None:
        self._listener.note(sentence)


class SlowCopy(CopyReference):
    """Copies the drawn slice, a few milliseconds a slice."""

    seconds_per_slice = 0.002

    def propagate(self, session, reference, progress, slices=None):
        return super().propagate(session, reference, _Slowly(progress, self.seconds_per_slice), slices)


class BrokenMethod(SlowCopy):
    """Fails half way, as memory or a library may."""

    def propagate(self, session, reference, progress, slices=None):
        progress.slice_done(min(slices), next(iter(reference.masks.values())), 0.5)
        raise RuntimeError("a library failed")
