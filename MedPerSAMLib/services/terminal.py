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
        # (subject, phase) -> when it began, at which step, the last step. Phases may take turns.
        self._phases: dict[tuple[str, str], tuple[float, int, int]] = {}
        self._shown, self._width = float("-inf"), 0

    def cancelled(self) -> bool:
        return self._is_cancelled is not None and self._is_cancelled()

    def on_step(self, phase: str, done: int, total: int) -> None:
        now, key = self._clock(), (self.subject, phase)
        if key not in self._phases and not self._terminal:
            print(self._headed(f"{phase} ({total})"), file=self._stream, flush=True)
        began, first, last = self._phases.get(key, (now, done, done))
        if done < last:  # the phase starts anew
            began, first = now, done
        self._phases[key] = began, first, done
        if self._terminal and now - self._shown >= _SECONDS_BETWEEN_UPDATES:
            self._shown = now
            left = _seconds_left(now - began, done - first, total - done)
            self._rewrite(self._headed(f"{phase}, {done} of {total}{left}"))

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

    def _rewrite(self, text: str) -> None:
        self._stream.write("\r" + text.ljust(self._width))
        self._stream.flush()
        self._width = len(text)


def _seconds_left(elapsed: float, done: int, open_steps: int) -> str:
    return f", {elapsed / done * open_steps:.0f} s left" if done > 0 and open_steps > 0 else ""
