"""Progress for people: one rewritten line on a terminal, a quiet line per phase elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

from MedPerSAMLib.core.progress import Progress

_SECONDS_BETWEEN_UPDATES = 0.1


class TerminalProgress(Progress):
    """Shows phase, step k of n and seconds left.

    Args:
        stream: where to write; standard error unless given.
        is_cancelled: asked at every step.
        clock: seconds, for tests.

    Attributes:
        subject: what is being worked on, put in front of the phase; set it when that changes.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        is_cancelled: Callable[[], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()
        self._is_cancelled, self._clock = is_cancelled, clock
        self.subject = ""
        self._phase: tuple[str, str] | None = None
        self._began, self._first, self._shown, self._width = 0.0, 0, float("-inf"), 0

    def cancelled(self) -> bool:
        return self._is_cancelled is not None and self._is_cancelled()

    def on_step(self, phase: str, done: int, total: int) -> None:
        now = self._clock()
        if (self.subject, phase) != self._phase:
            self._phase, self._began, self._first = (self.subject, phase), now, done
            self._shown = float("-inf")
            if not self._terminal:
                print(self._headed(f"{phase} ({total})"), file=self._stream, flush=True)
        if self._terminal and now - self._shown >= _SECONDS_BETWEEN_UPDATES:
            self._shown = now
            self._rewrite(self._headed(f"{phase}, {done} of {total}{self._left(now, done, total)}"))

    def note(self, sentence: str) -> None:
        self.line(self._headed(sentence))

    def line(self, text: str) -> None:
        """Write a line that stays."""
        self.clear()
        print(text, file=self._stream, flush=True)

    def clear(self) -> None:
        """Take the rewritten line away."""
        if self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._stream.flush()
            self._width = 0

    def _headed(self, text: str) -> str:
        return f"{self.subject}: {text}" if self.subject else text

    def _left(self, now: float, done: int, total: int) -> str:
        if done <= self._first or done >= total:
            return ""
        seconds = (now - self._began) / (done - self._first) * (total - done)
        return f", {seconds:.0f} s left"

    def _rewrite(self, text: str) -> None:
        self._stream.write("\r" + text.ljust(self._width))
        self._stream.flush()
        self._width = len(text)
