"""Ctrl-C as a wish that work notices between two steps, so that what is finished can be saved."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType

EXIT_CODE = 130
"""What shells expect of a program that Ctrl-C ended."""


class Interrupt:
    """While entered, the first Ctrl-C only sets :meth:`asked`; a second one raises KeyboardInterrupt at once."""

    def __init__(self) -> None:
        self._asked = False
        self._before = None

    def asked(self) -> bool:
        """Whether Ctrl-C was pressed."""
        return self._asked

    def __enter__(self) -> Interrupt:  # noqa: PYI034
        # Only the main thread may set handlers; elsewhere nobody can press Ctrl-C either.
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
