"""How far long work is, in words."""

from __future__ import annotations

from collections.abc import Callable

SLICE_PHASES = frozenset(
    {
        "following the structure",
        "copying",
        "growing",
        "copying the annotated slice",
        "PerSAM",
        "PerSAM-F",
        "Matcher",
        "looking for the place",
        "segmenting",
    }
)
"""Phases whose steps are slices and whose name does not say so."""


class RemainingTime:
    """Turns the steps of one piece of work into "12 of 36 slices, 20 s left; about 2 min left for all".

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[float, int, int]] = {}
        self._structure, self._structures = 0, 1
        self._first_began = self._structure_began = 0.0

    def begin_structure(self, done: int, count: int) -> None:
        """The next of ``count`` structures begins, after ``done`` others."""
        self._structure, self._structures, self._structure_began = done, count, self._clock()
        if done == 0:
            self._first_began = self._structure_began

    def tell(self, phase: str, done: int, total: int) -> str:
        """One line on a step; the seconds left are those of the phase, from its steps so far.

        A phase may be left and taken up again, as training is for its checks; one that goes back has begun anew.
        """
        now = self._clock()
        began, first, last = self._seen.get(phase, (now, done, done))
        if done < last or done == first:
            began, first = now, done
        self._seen[phase] = (began, first, done)
        words, left = phase[:1].upper() + phase[1:], 0.0
        if total <= 1:
            words = f"{words} ..."
        else:
            unit = " slices" if phase.rpartition(": ")[2] in SLICE_PHASES else ""
            words = f"{words}: {min(done + 1, total)} of {total}{unit}"
            elapsed = now - began
            if done - first >= 2 and elapsed > 0.5:
                left = elapsed / (done - first) * (total - done)
                words += f", {duration(left)} left"
        return words + self._all_left(now, left)

    def percent(self, done: int, total: int) -> float | None:
        """How far the work is; of several structures, each has an equal share. None where it cannot be told."""
        if self._structures > 1:
            return 100.0 * (self._structure + (done / total if total > 1 else 0.0)) / self._structures
        return None if total <= 1 else 100.0 * done / total

    def _all_left(self, now: float, phase_left: float) -> str:
        """The rough time for all that is left, from the structures that are finished; empty before the first is."""
        if not self._structure:
            return ""
        each = (self._structure_began - self._first_began) / self._structure
        here = max(phase_left, each - (now - self._structure_began))
        left = here + each * (self._structures - self._structure - 1)
        return f"; about {duration(left)} left for all" if left > 1 else ""


def duration(seconds: float) -> str:
    """Seconds in words that a glance takes in: "8 s", "2 min"."""
    return f"{max(1, round(seconds))} s" if seconds < 90 else f"{round(seconds / 60)} min"
