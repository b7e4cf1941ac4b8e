"""Do the pieces of work of a protocol, one after the other or in several processes."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

from MedPerSAMLib.services.evaluation.dataset import LabelledSet
from MedPerSAMLib.services.evaluation.protocol import Protocol
from MedPerSAMLib.services.evaluation.records import Record
from MedPerSAMLib.services.evaluation.workbench import Options, Workbench

_worker_bench: Workbench | None = None
"""Of a worker process: the model is loaded once in each."""


def run(protocol: Protocol, sets: Sequence[LabelledSet], bench: Workbench, jobs: int = 1) -> Iterator[list[Record]]:
    """Records as they come: one at a time with one job, a piece of work at a time with more."""
    work = [(labelled, item) for labelled in sets for item in protocol.items(labelled)]
    if jobs == 1:
        for labelled, item in work:
            for record in protocol.run_item(labelled, item, bench):
                yield [record]
        return
    pool = ProcessPoolExecutor(
        jobs, multiprocessing.get_context("spawn"), initializer=_open_bench, initargs=(bench.options,)
    )
    try:
        waiting = [pool.submit(_run_item, protocol, labelled, item) for labelled, item in work]
        for done in as_completed(waiting):
            yield done.result()
    except BaseException:
        # Nobody who pressed Ctrl-C wants to wait for the cases at hand.
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _open_bench(options: Options) -> None:
    global _worker_bench
    # Ctrl-C reaches all processes of a terminal: the main one reports, the others end without a word.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _worker_bench = Workbench.open(options)


def _run_item(protocol: Protocol, labelled: LabelledSet, item: str) -> list[Record]:
    return list(protocol.run_item(labelled, item, _worker_bench))
