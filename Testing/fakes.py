"""Methods that stand in for real ones in tests of what surrounds them."""

from __future__ import annotations

import signal
from typing import ClassVar

import numpy as np

from MedPerSAMLib.core.task import Propagation, Transfer


class Repeating:
    """Repeats the lowest annotated mask, tells of every slice, and may press Ctrl-C in between."""

    summary = "stand-in"
    needs_model = False
    interrupt_after: int | None = None
    """Number of slices after which Ctrl-C is pressed, counted over all structures."""
    confidence: ClassVar[dict[str, float]] = {}
    """Name of the structure -> its confidence on every slice."""
    sessions: ClassVar[list] = []
    """Sessions it was called with."""
    done = 0

    def propagate(self, session, reference, progress, slices=None):
        cls = type(self)
        cls.sessions.append(session)
        count = len(session.volume.array)
        source = reference.masks[min(reference.masks)]
        mask = np.zeros(session.volume.array.shape, bool)
        confidence = np.full(count, cls.confidence.get(reference.name, 0.5), np.float32)
        finished = np.zeros(count, bool)
        for k in slices or range(count):
            progress.step("repeating", k, count)
            mask[k] = reference.masks.get(k, source)
            finished[k] = True
            progress.slice_done(k, mask[k], float(confidence[k]))
            cls.done += 1
            if cls.done == cls.interrupt_after:
                signal.raise_signal(signal.SIGINT)
        for k, annotated in reference.masks.items():
            mask[k], confidence[k], finished[k] = annotated, 1, True
        return Propagation(mask, confidence, mask.any(axis=(1, 2)), finished)

    def transfer(self, session, progress):
        results = []
        for number, target in enumerate(session.targets):
            progress.step("repeating", number, len(session.targets))
            mask = np.zeros(target.shape[:2], bool)
            mask[: target.shape[0] // 2] = True
            results.append(Transfer(mask, 0.5))
        return results
