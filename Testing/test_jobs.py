"""The background worker: order of news, cancel, death, memory, late results."""

from __future__ import annotations

import threading
import time

import pytest

from MedPerSAMLib.errors import InputError
from MedPerSAMLib.services.jobs import CANCELLED, FAILED, FINISHED, NOTE, STEP, Jobs, is_out_of_memory


def collect(jobs: Jobs, job: int, timeout: float = 5.0) -> list:
    """All news of a job up to its end."""
    news, end = [], time.monotonic() + timeout
    while time.monotonic() < end:
        item = jobs.next_news()
        if item is None:
            time.sleep(0.002)
        elif item.job == job:
            news.append(item)
            if item.kind in (FINISHED, FAILED, CANCELLED):
                return news
    raise AssertionError(f"job {job} did not end; {news}")


@pytest.fixture
def jobs():
    jobs = Jobs()
    yield jobs
    jobs.close()


def test_news_come_in_order(jobs):
    def work(progress):
        progress.step("first", 0, 2)
        progress.step("second", 1, 2)
        return 7

    news = collect(jobs, jobs.submit(work))
    assert [(n.kind, n.content) for n in news] == [
        (STEP, ("first", 0, 2)),
        (STEP, ("second", 1, 2)),
        (FINISHED, 7),
    ]


def test_one_thread_serves_all_jobs(jobs):
    names = [collect(jobs, jobs.submit(lambda _: threading.get_ident()))[-1].content for _ in range(3)]
    assert len(set(names)) == 1 and names[0] != threading.get_ident()


def test_preparation_runs_before_the_job_and_says_nothing(jobs):
    done = []
    jobs.prepare(lambda: done.append("prepared"))
    jobs.prepare(lambda: 1 / 0)
    news = collect(jobs, jobs.submit(lambda _: list(done)))
    assert [(n.kind, n.content) for n in news] == [(FINISHED, ["prepared"])]
    assert jobs.next_news() is None


@pytest.mark.parametrize("prepared_meanwhile", [False, True])
def test_cancel_is_noticed_at_the_next_step(jobs, prepared_meanwhile):
    started = threading.Event()

    def work(progress):
        while True:
            progress.step("working", 0, 1)
            started.set()
            time.sleep(0.005)

    job = jobs.submit(work)
    started.wait(2)
    if prepared_meanwhile:
        jobs.prepare(lambda: None)
    begin = time.monotonic()
    jobs.cancel()
    assert collect(jobs, job)[-1].kind == CANCELLED
    assert time.monotonic() - begin < 0.5


def test_known_errors_keep_their_sentence(jobs):
    def work(_):
        raise InputError("The volume is flat; load another.")

    kind, (sentence, _) = (n := collect(jobs, jobs.submit(work))[-1]).kind, n.content
    assert (kind, sentence) == (FAILED, "The volume is flat; load another.")


def test_unknown_errors_become_one_sentence_and_the_worker_lives(jobs):
    def work(_):
        raise ZeroDivisionError("two\nlines")

    sentence, details = collect(jobs, jobs.submit(work))[-1].content
    assert "ZeroDivisionError: two)" in sentence and "\n" not in sentence and "Traceback" in details
    assert collect(jobs, jobs.submit(lambda _: "still here"))[-1].content == "still here"


@pytest.mark.parametrize("message", ["CUDA out of memory. Tried", "DefaultCPUAllocator: not enough memory: you tried"])
def test_out_of_memory_retries_smaller_once(message):
    sizes = [8]
    jobs = Jobs(make_smaller=lambda: sizes.append(1) or "Slices are encoded one at a time.")

    def work(_):
        if sizes[-1] > 1:
            raise RuntimeError(message)
        return "done"

    news = collect(jobs, jobs.submit(work))
    assert [n.kind for n in news] == [NOTE, FINISHED] and sizes == [8, 1]
    jobs.close()


def test_out_of_memory_twice_gives_up_with_the_remedy():
    jobs = Jobs(make_smaller=lambda: "smaller")

    def work(_):
        raise MemoryError

    sentence, _ = collect(jobs, jobs.submit(work))[-1].content
    assert sentence.startswith("Memory ran out") and "smaller model" in sentence
    jobs.close()


def test_close_ends_a_working_worker():
    jobs, started = Jobs(), threading.Event()

    def work(progress):
        started.set()
        while True:
            progress.step("working", 0, 1)
            time.sleep(0.005)

    jobs.submit(work)
    started.wait(2)
    assert jobs.close(1.0)
    assert collect(jobs, jobs.submit(lambda _: 3))[-1].content == 3, "a new worker after a close"
    jobs.close()


def test_close_does_not_wait_for_a_stuck_step():
    jobs, release = Jobs(), threading.Event()
    jobs.submit(lambda _: release.wait(10))
    begin = time.monotonic()
    assert not jobs.close(0.1)
    assert time.monotonic() - begin < 1
    job = jobs.submit(lambda _: "fresh")
    assert collect(jobs, job)[-1].content == "fresh"
    release.set()
    time.sleep(0.05)
    assert jobs.next_news() is None, "the abandoned step reports to nobody"
    jobs.close()


def test_other_errors_are_not_memory_errors():
    assert not is_out_of_memory(ValueError("shape mismatch"))
