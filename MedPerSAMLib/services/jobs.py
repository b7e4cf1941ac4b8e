"""Long work on one background thread, whose news are fetched by whoever owns the main thread.

A thread and not a subprocess, because the work is torch and numpy, which let other threads run while they compute;
because a correction then finds model and embeddings in memory (a subprocess would have to be kept warm and be sent the
volume); and because cuDNN keeps its caches per thread, so that one persistent worker is fast from the second slice on.
What a thread cannot do, die alone, is made up for: an exception of any kind becomes a sentence, and memory is given
back before a smaller retry.
"""

from __future__ import annotations

import itertools
import queue
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.errors import Cancelled, MedPerSAMError

STEP, SLICE, NOTE, SO_FAR = "step", "slice", "note", "so far"
FINISHED, FAILED, CANCELLED = "finished", "failed", "cancelled"
"""Kinds of news; the last three end a job."""


@dataclass(frozen=True)
class News:
    """One thing that a job reports.

    Attributes:
        job: its number.
        kind: one of the constants above.
        content: STEP (phase, done, total); SLICE (key, index, mask, confidence); NOTE sentence; SO_FAR what would
            be kept if the job ended now; FINISHED what the work returned; FAILED (sentence, details); CANCELLED None.
    """

    job: int
    kind: str
    content: Any = None


class JobProgress(Progress):
    """What the work of one job is given to report with.

    Args:
        job: its number.
        news: where reports go.
    """

    def __init__(self, job: int, news: queue.SimpleQueue) -> None:
        self._job, self._news, self._stop = job, news, threading.Event()

    def stop(self) -> None:
        """Ask the work to stop at its next step."""
        self._stop.set()

    def cancelled(self) -> bool:
        return self._stop.is_set()

    def on_step(self, phase: str, done: int, total: int) -> None:
        self._put(STEP, (phase, done, total))

    def structure_slice(self, key: str, index: int, mask, confidence: float) -> None:
        """Hand over a finished slice of one of several structures."""
        self._put(SLICE, (key, index, mask, confidence))

    def note(self, sentence: str) -> None:
        self._put(NOTE, sentence)

    def so_far(self, content: Any) -> None:
        """Hand over what would be kept if the job ended now."""
        self._put(SO_FAR, content)

    def _put(self, kind: str, content) -> None:
        if not self._stop.is_set():
            self._news.put(News(self._job, kind, content))


class Jobs:
    """One worker thread, which lives as long as the application.

    Args:
        make_smaller: called after running out of memory; frees what it can, lowers the need, and returns the sentence
            that says how, or None where nothing smaller is left. The job is then tried once more.
    """

    def __init__(self, make_smaller: Callable[[], str | None] = lambda: None) -> None:
        self._make_smaller = make_smaller
        self._work: queue.SimpleQueue = queue.SimpleQueue()
        self._news: queue.SimpleQueue = queue.SimpleQueue()
        self._numbers = itertools.count(1)
        self._thread: threading.Thread | None = None
        self._current: JobProgress | None = None

    def submit(self, work: Callable[[JobProgress], Any]) -> int:
        """Start ``work`` when the worker is free; returns the job's number."""
        job = next(self._numbers)
        self._current = JobProgress(job, self._news)
        self._put(job, self._current, work)
        return job

    def prepare(self, work: Callable[[], Any]) -> None:
        """Do what makes a later job faster when the worker is free. It reports nothing: what fails in it fails again, with
        its sentence, in the job that needs it."""
        self._put(None, JobProgress(0, queue.SimpleQueue()), lambda _progress: work())

    def cancel(self) -> None:
        """Ask the latest job to stop; it answers with CANCELLED (or with its end, if that came first)."""
        if self._current is not None:
            self._current.stop()

    def next_news(self) -> News | None:
        """The oldest report not fetched yet, or None; never waits."""
        try:
            return self._news.get_nowait()
        except queue.Empty:
            return None

    @property
    def alive(self) -> bool:
        """Whether the worker can still answer."""
        return self._thread is not None and self._thread.is_alive()

    def close(self, timeout_s: float = 1.0) -> bool:
        """Cancel, let the worker end and wait for it; whether it ended in time. A later job starts a new worker."""
        self.cancel()
        thread, self._thread = self._thread, None
        if thread is None:
            return True
        self._work.put(None)
        thread.join(timeout_s)
        if thread.is_alive():
            # The worker is in the middle of a step: it ends after it, and its queue must not be shared with a new one.
            self._work, self._news = queue.SimpleQueue(), queue.SimpleQueue()
        return not thread.is_alive()

    def _put(self, job: int | None, progress: JobProgress, work: Callable[[JobProgress], Any]) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="MedPerSAM", daemon=True)
            self._thread.start()
        self._work.put((job, progress, work))

    def _run(self) -> None:
        work_queue, news = self._work, self._news
        while (item := work_queue.get()) is not None:
            job, progress, work = item
            outcome = self._outcome(job, progress, work)
            if job is not None:
                news.put(outcome)

    def _outcome(self, job: int, progress: JobProgress, work: Callable[[JobProgress], Any]) -> News:
        for last_try in (False, True):
            try:
                return News(job, FINISHED, work(progress))
            except Cancelled:
                return News(job, CANCELLED)
            except MedPerSAMError as error:
                return News(job, FAILED, (str(error), traceback.format_exc()))
            except Exception as error:  # noqa: BLE001 - the worker must outlive whatever its work does
                if progress.cancelled():
                    return News(job, CANCELLED)
                smaller = None if last_try or not is_out_of_memory(error) else self._make_smaller()
                if smaller is None:
                    return News(job, FAILED, (_sentence(error), traceback.format_exc()))
                progress.note(smaller)
        raise AssertionError("unreachable")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory of the computer or the GPU ran out."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(
        t in text for t in ("out of memory", "not enough memory", "to allocate")
    )


def _sentence(error: Exception) -> str:
    if is_out_of_memory(error):
        return (
            "Memory ran out even in smaller steps; close other volumes or programs, choose a smaller model, "
            "or use the CPU."
        )
    first = (str(error).strip().splitlines() or [""])[0][:200]
    return (
        f"The work stopped unexpectedly ({type(error).__name__}: {first}); the scene is as before, "
        "details are in the log."
    )
