"""Carries one piece of background work from its start to its end: phases, live slices, cancel, failure, late
results."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from MedPerSAMLib.core.task import Propagation
from MedPerSAMLib.errors import Cancelled, MedPerSAMError
from MedPerSAMLib.mrml.panel_state import (
    CANCELLING,
    FAILED,
    FINISHED,
    IDLE,
    LOADING,
    OTHER,
    PROPAGATING,
    RUNNING,
)
from MedPerSAMLib.mrml.propagation_run import PropagationRun
from MedPerSAMLib.mrml.remaining_time import RemainingTime
from MedPerSAMLib.mrml.signal import Signal
from MedPerSAMLib.services import jobs as kinds
from MedPerSAMLib.services.jobs import Jobs, News
from MedPerSAMLib.services.propagation_work import STRUCTURES

TICK_BUDGET_S = 0.03
"""How long one tick may work on the main thread: a third of what a user begins to notice."""

PATIENCE_S = 0.8
"""How long a cancelled job may take to answer before the panel goes on without it."""

_LOADING_PHASES = ("loading model", "reading volume")


@dataclass(frozen=True)
class Work:
    """Background work that writes nothing into the scene.

    Attributes:
        title: for people.
        run: ``run(progress)``, in the background; what it returns is its content.
        done: called with a sentence at its end, whatever the end is.
        finished: turns the content into that sentence.
        so_far: called with what would be kept if the work ended now.
        activity: one of the kinds of ``panel_state``.
    """

    title: str
    run: Callable[[Any], Any]
    done: Callable[[str], None]
    finished: Callable[[Any], str] = "{} is ready.".format
    so_far: Callable[[Any], None] = lambda content: None
    activity: str = OTHER


class RunController:
    """Phases of the work; main thread only.

    ``changed`` is emitted when phase, status or progress have changed, ``told`` with each sentence for the user,
    ``detailed`` with the details of a failure for the log, ``kept`` with a cancelled run whose slices stay, ``ended`` with
    (phase, run, results) when the work has come to rest; run and results are None unless a propagation finished.

    Args:
        jobs: runs the work in the background.
        clock: seconds, monotonic.
    """

    def __init__(self, jobs: Jobs, clock: Callable[[], float]) -> None:
        self.changed, self.told, self.detailed, self.kept, self.ended = (Signal() for _ in range(5))
        self.phase, self.status, self.progress, self.activity = IDLE, "", None, PROPAGATING
        self._jobs, self._clock = jobs, clock
        self._remaining = RemainingTime(clock)
        self._step, self._slice = "", ""
        self._job: int | None = None
        self._other: Work | None = None
        self._run: PropagationRun | None = None
        self._results: dict[str, Propagation] = {}
        self._ending: Iterator[int] | None = None
        self._cancelled_at = 0.0

    def start_run(self, run: PropagationRun, work: Callable, activity: str = PROPAGATING) -> None:
        """Start the background part of a run, ``work(progress)``, and write its slices as they come."""
        self._run, self._other, self.activity = run, None, activity
        self._job = self._jobs.submit(work)
        self._begin("Loading the model ...")

    def start_work(self, work: Work) -> None:
        """Start other work."""
        self._job, self._other, self.activity = self._jobs.submit(work.run), work, work.activity
        self._begin(f"{work.title} ...")

    def prepare(self, work: Callable[[], Any]) -> None:
        """Do what makes later work faster, in the background and without a word."""
        self._jobs.prepare(work)

    def cancel(self, keep: bool) -> None:
        """Stop within a second; ``keep`` leaves finished slices in place."""
        if self.phase not in (LOADING, RUNNING):
            return
        self._jobs.cancel()
        self._cancelled_at = self._clock()
        if self._run is not None:
            self._end_run(keep, "Cancelled; finished slices are kept." if keep else "Cancelled; nothing was kept.")
        if self._job is None:
            self._rest(IDLE)
        else:
            self._go(CANCELLING, self.status)

    def fail(self, sentence: str) -> None:
        """End the work because of a problem."""
        self._jobs.cancel()
        self._job_ended(sentence)
        self._end_run(False, sentence)
        self._rest(FAILED)

    def drop(self) -> None:
        """Forget the work without touching the scene, as when the scene closes."""
        self._jobs.cancel()
        self._job, self._other, self._run, self._ending, self._results = None, None, None, None, {}
        self.phase, self.status, self.progress = IDLE, "", None

    def close(self, timeout_s: float) -> bool:
        """Take back what is half done and end the worker; whether it ended in time."""
        self._end_run(False, "Stopped.")
        self.drop()
        return self._jobs.close(timeout_s)

    def tick(self) -> None:
        """Fetch news; called every 20-50 ms, returns within about TICK_BUDGET_S."""
        until = self._clock() + TICK_BUDGET_S
        while self._clock() < until:
            try:
                if self._ending is not None:
                    self._end_step()
                    continue
                news = self._jobs.next_news()
                if news is None:
                    break
                if news.job == self._job:  # everything else is late
                    self._receive(news)
            except Cancelled as error:  # the user undid the run, or deleted what it writes to
                self._jobs.cancel()
                self._job = None
                self._end_run(False, str(error))
                self._rest(IDLE)
            except MedPerSAMError as error:
                self.fail(str(error))
            except Exception as error:  # noqa: BLE001 - whatever it was, the panel must be usable again
                self._detail(traceback.format_exc())
                self.fail(f"The result could not be shown ({type(error).__name__}: {error}); details are in the log.")
        self._watch()

    def _receive(self, news: News) -> None:
        if news.kind == kinds.NOTE:
            self._tell(news.content)
        elif news.kind == kinds.STEP and self.phase != CANCELLING:
            self._stepped(*news.content)
        elif news.kind == kinds.SLICE and self._run is not None:
            key, index, mask, confidence = news.content
            if self._run.write(key, index, mask):
                self._wrote(key, index, confidence)
        elif news.kind == kinds.SO_FAR and self._other is not None:
            self._other.so_far(news.content)
            self.changed.emit()
        elif news.kind == kinds.FINISHED:
            self._finished(news.content)
        elif news.kind == kinds.FAILED:
            sentence, details = news.content
            self._detail(details)
            self.fail(sentence)
        elif news.kind == kinds.CANCELLED:
            self._job_ended("Cancelled.")
            self._rest(IDLE)

    def _begin(self, status: str) -> None:
        self._remaining, self._step, self._slice = RemainingTime(self._clock), status, ""
        self._go(LOADING, status)

    def _stepped(self, phase: str, done: int, total: int) -> None:
        if phase == STRUCTURES:
            self._remaining.begin_structure(done, total)
            self._slice = ""
            return
        self._step = self._remaining.tell(phase, done, total)
        self._go(
            LOADING if phase in _LOADING_PHASES else RUNNING,
            "; ".join(filter(None, [self._step, self._slice])),
            self._remaining.percent(done, total),
        )

    def _wrote(self, key: str, index: int, confidence: float) -> None:
        """Tell the slice that has just appeared, and how certain it is."""
        several = len(self._run.structures) > 1
        name = f"{self._run.structures[key].name}, " if several else ""
        self._slice = f"{name}slice {index}: confidence {confidence:.2f}"
        self._go(self.phase, f"{self._step}; {self._slice}", self.progress)

    def _finished(self, content) -> None:
        if self._run is None:
            self._job_ended("" if self._other is None else self._other.finished(content))
            self._rest(IDLE)
            return
        self._job = None
        self._results = self._run.settle(content)
        self._ending = self._run.finish(self._results)

    def _end_step(self) -> None:
        if next(self._ending, None) is not None:
            return
        run, results = self._run, self._results
        self._run, self._ending, self._results = None, None, {}
        self._rest(FINISHED, run, results)

    def _watch(self) -> None:
        if self.phase == CANCELLING and self._clock() - self._cancelled_at > PATIENCE_S:
            self._job_ended("Cancelled.")
            self._rest(IDLE)
            self._tell("Cancelled; the last step is still ending in the background.")
        elif self._job is not None and not self._jobs.alive:
            self.fail("The background worker stopped; press Propagate again, which starts a new one.")

    def _job_ended(self, sentence: str) -> None:
        self._job, other, self._other = None, self._other, None
        if other is not None:
            other.done(sentence)

    def _end_run(self, keep: bool, sentence: str) -> None:
        run, self._run, self._ending = self._run, None, None
        if run is not None and keep:
            try:
                if run.keep_finished():
                    self.kept.emit(run)
                else:
                    sentence = "Cancelled before a slice was finished; nothing was kept."
            except Cancelled as error:
                sentence = str(error)
        elif run is not None:
            try:
                kept = run.cancel()
            except Exception:  # noqa: BLE001 - as where the segmentation was put under a transform that is not linear
                self._detail(traceback.format_exc())
                kept = 0
                sentence += " What was written could not be taken back; press Undo in Segment Editor."
            if kept:
                sentence += f" {kept} slice{'s' * (kept > 1)} that you drew meanwhile stay{'s' * (kept == 1)}."
        self._tell(sentence)

    def _go(self, phase: str, status: str, progress: float | None = None) -> None:
        self.phase, self.status, self.progress = phase, status, progress
        self.changed.emit()

    def _rest(self, phase: str, run: PropagationRun | None = None, results: dict | None = None) -> None:
        self.phase, self.progress = phase, None
        self.ended.emit(phase, run, results)

    def _detail(self, details: str) -> None:
        logging.getLogger(__name__).info(details)
        self.detailed.emit(details)

    def _tell(self, sentence: str) -> None:
        self.status = sentence
        self.told.emit(sentence)
