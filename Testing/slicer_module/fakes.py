"""Stand-ins for what a test must hold in its hand: clock, jobs, packages, parameters, a method."""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from MedPerSAMLib.core.task import Propagation
from MedPerSAMLib.services.jobs import FINISHED, SLICE, STEP, News


@dataclass
class FakeParameters:
    """The fields of the module's parameter node."""

    volume: Any = None
    segmentation: Any = None
    segmentIDs: list[str] = field(default_factory=list)
    method: str = "copy"
    model: str = "tiny"
    device: str = "cpu"
    target: str = "same segment"
    limitRange: bool = False
    firstSlice: int = 0
    lastSlice: int = 0
    keepFinished: bool = False
    learner: str = "autosam-cnn"


class FakeClock:
    """A clock that stands still until told; each look moves it by a microsecond."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        self.now += 1e-6
        return self.now


class FakeJobs:
    """Jobs whose news the test puts in by hand."""

    def __init__(self) -> None:
        self.submitted: list = []
        self.prepared: list = []
        self.cancels, self.alive, self.closed = 0, True, False
        self._numbers, self._news = itertools.count(1), deque()

    def submit(self, work) -> int:
        self.submitted.append(work)
        return next(self._numbers)

    def prepare(self, work) -> None:
        self.prepared.append(work)

    def cancel(self) -> None:
        self.cancels += 1

    def next_news(self) -> News | None:
        return self._news.popleft() if self._news else None

    def close(self, timeout_s: float = 1.0) -> bool:
        self.closed = True
        return True

    def put(self, kind: str, content: Any = None, job: int | None = None) -> None:
        """Report something for the latest job."""
        self._news.append(News(len(self.submitted) if job is None else job, kind, content))

    def put_result(self, key: str, mask: np.ndarray, live: int = 3) -> Propagation:
        """Report a whole run: a step, some live slices, the result."""
        self.put(STEP, ("propagating", 1, len(mask)))
        confidence = np.linspace(0.9, 0.3, len(mask)).astype(np.float32)
        for index in range(live):
            self.put(SLICE, (key, index, mask[index], 0.5))
        everything = np.ones(len(mask), bool)
        result = Propagation(mask, confidence, mask.any(axis=(1, 2)), everything)
        self.put(FINISHED, {key: result})
        return result


class FakeDependencies:
    """Packages that are there, or not."""

    def __init__(self, missing: list[str] | None = None, error: Exception | None = None) -> None:
        self._missing, self._error, self.installs = missing or [], error, 0

    def missing(self) -> list[str]:
        return list(self._missing)

    def status(self) -> str:
        return "All packages are installed." if not self._missing else f"{self._missing} will be installed"

    def install(self) -> None:
        self.installs += 1
        if self._error is not None:
            raise self._error
        self._missing = []
