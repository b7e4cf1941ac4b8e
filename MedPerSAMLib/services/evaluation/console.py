"""What a person sees while an evaluation runs: where it is, and a line for each result."""

from __future__ import annotations

import time
from typing import TextIO

from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.services.evaluation.records import Record

_SECONDS_BETWEEN_UPDATES = 0.2


class ConsoleProgress(Progress):
    """Shows phases on a terminal in one line that is overwritten; without a terminal only results are printed.

    Args:
        stream: where to write.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._terminal = stream, stream.isatty()
        self._shown, self._width = 0.0, 0

    def on_step(self, phase: str, done: int, total: int) -> None:
        now = time.monotonic()
        if self._terminal and now - self._shown > _SECONDS_BETWEEN_UPDATES:
            self._shown = now
            text = f"{phase} {done}/{total}"
            self._stream.write("\r" + text.ljust(self._width))
            self._stream.flush()
            self._width = len(text)

    def record(self, record: Record) -> None:
        """Print a result."""
        figures = ", ".join(f"{key} {value:.3f}" for key, value in record.values.items() if value is not None)
        self.line(f"{record.set_name}/{record.case}  {record.method}  {record.label}: {figures}")
        for note in record.details.get("notes", ()):
            self.line(f"    {note}")

    def line(self, text: str) -> None:
        """Print one line that stays."""
        self.clear()
        print(text, file=self._stream, flush=True)

    def clear(self) -> None:
        """Remove the line that is overwritten."""
        if self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._stream.flush()
            self._width = 0
