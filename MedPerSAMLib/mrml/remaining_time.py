"""How far long work is, in words."""

from __future__ import annotations

from collections.abc import Callable


class RemainingTime:
    """Turns steps into "slice 12 of 36, 20 s left".

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[float, int, int]] = {}

    def tell(self, phase: str, done: int, total: int) -> str:
        """One line on a step; the seconds left are those of the phase, from its steps so far.

        A phase may be left and taken up again, as training is for its checks; one that goes back has begun anew.
        """
        now = self._clock()
        began, first, last = self._seen.get(phase, (now, done, done))
        if done < last or done == first:
            began, first = now, done
        self._seen[phase] = (began, first, done)
        words = phase[:1].upper() + phase[1:]
        if total <= 1:
            return f"{words} ..."
        words = f"{words}: {min(done + 1, total)} of {total}"
        elapsed = now - began
        if done - first >= 2 and elapsed > 0.5:
            words += f", {duration(elapsed / (done - first) * (total - done))} left"
        return words


def duration(seconds: float) -> str:
    """Seconds in words that a glance takes in: "8 s", "2 min"."""
    return f"{max(1, round(seconds))} s" if seconds < 90 else f"{round(seconds / 60)} min"
