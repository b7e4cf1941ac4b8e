"""A signal without Qt: custom Qt signals defined in Python crash PythonQt."""

from __future__ import annotations

from collections.abc import Callable


class Signal:
    """Calls everything that is connected, in order."""

    def __init__(self) -> None:
        self._slots: list[Callable] = []

    def connect(self, slot: Callable) -> None:
        """Call ``slot`` at each emit."""
        self._slots.append(slot)

    def disconnect(self, slot: Callable) -> None:
        """Call it no more; unknown slots are ignored."""
        self._slots = [s for s in self._slots if s != slot]

    def disconnect_all(self) -> None:
        """Call nobody any more."""
        self._slots = []

    def emit(self, *arguments) -> None:
        """Call every slot with these arguments."""
        for slot in list(self._slots):
            slot(*arguments)
