"""How long work reports where it is, hands over finished slices, and is stopped."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from MedPerSAMLib.errors import Cancelled

if TYPE_CHECKING:
    import numpy as np


class Progress:
    """Listener of one piece of long work; this base class ignores everything and never cancels.

    Work calls :meth:`step` at least once a slice and once a tuning step, so that a cancel is noticed within a fraction
    of a second, and :meth:`slice_done` as soon as a slice has a result that may be shown.
    """

    def step(self, phase: str, done: int, total: int) -> None:
        """Report ``done`` of ``total`` steps of ``phase`` (a word or two for people), and stop if asked to.

        Raises:
            Cancelled: the user asked for it.
        """
        self.check()
        self.on_step(phase, done, total)

    def check(self) -> None:
        """Stop within a step if asked to.

        Raises:
            Cancelled: the user asked for it.
        """
        if self.cancelled():
            raise Cancelled("The work was cancelled.")

    def slice_done(self, index: int, mask: np.ndarray, confidence: float) -> None:
        """Hand over the (rows, columns) bool mask of slice ``index`` and its confidence in 0..1; it may still change.

        In a transfer the index is the target's number.
        """

    def note(self, sentence: str) -> None:
        """Tell the user something worth knowing, such as which fallback was taken and why."""

    def cancelled(self) -> bool:
        """Whether the user asked to stop."""
        return False

    def on_step(self, phase: str, done: int, total: int) -> None:
        """Show the step; called after the check for a cancel."""


class CallbackProgress(Progress):
    """Progress that forwards each event to a plain function where one is given."""

    def __init__(
        self,
        on_step: Callable[[str, int, int], None] | None = None,
        on_slice: Callable[[int, np.ndarray, float], None] | None = None,
        on_note: Callable[[str], None] | None = None,
        is_cancelled: Callable[[], bool] | None = None,
    ) -> None:
        self._on_step, self._on_slice, self._on_note, self._is_cancelled = on_step, on_slice, on_note, is_cancelled

    def cancelled(self) -> bool:
        return self._is_cancelled is not None and self._is_cancelled()

    def on_step(self, phase: str, done: int, total: int) -> None:
        if self._on_step is not None:
            self._on_step(phase, done, total)

    def slice_done(self, index: int, mask: np.ndarray, confidence: float) -> None:
        if self._on_slice is not None:
            self._on_slice(index, mask, confidence)

    def note(self, sentence: str) -> None:
        if self._on_note is not None:
            self._on_note(sentence)


class Relay(Progress):
    """Passes everything on; what listens in or changes something overrides that part.

    Args:
        listener: told everything, and asked whether to stop.
    """

    def __init__(self, listener: Progress) -> None:
        self._listener = listener

    def cancelled(self) -> bool:
        return self._listener.cancelled()

    def on_step(self, phase: str, done: int, total: int) -> None:
        self._listener.on_step(phase, done, total)

    def note(self, sentence: str) -> None:
        self._listener.note(sentence)

    def slice_done(self, index: int, mask: np.ndarray, confidence: float) -> None:
        self._listener.slice_done(index, mask, confidence)
