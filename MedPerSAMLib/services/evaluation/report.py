"""The JSON of a run, written while it grows."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from MedPerSAMLib.errors import OutputError
from MedPerSAMLib.services.evaluation.protocol import Protocol
from MedPerSAMLib.services.evaluation.records import Record, mean_over_sets, mean_per_set

_SECONDS_BETWEEN_WRITES = 2.0
_SHARE_OF_WRITING = 0.05
"""Most of the run's time that may go into writing, once there are thousands of records."""
_DIGITS = 5


class Report:
    """Collects records and keeps a JSON file of them up to date.

    The file says ``"partial": true`` until :meth:`finish`, so that a run that was stopped is known for one.

    Args:
        protocol: whose records they are.
        header: what the run was: protocol, version, model, checksum, device, settings, seed.
        path: the JSON file; None to write none.

    Raises:
        OutputError: the file cannot be written there.
    """

    def __init__(self, protocol: Protocol, header: Mapping[str, object], path: Path | None = None) -> None:
        self._protocol, self._header, self._path = protocol, dict(header), path
        self._start, self._next_write, self._partial = time.monotonic(), -math.inf, True
        self.records: list[Record] = []
        if path is not None:
            from MedPerSAMLib.services.images.write_segmentation import check_writable

            check_writable(path)

    def add(self, records: Sequence[Record]) -> None:
        """Take in records; the file follows with a record some seconds later at the latest."""
        self.records += records
        began = time.monotonic()
        if began > self._next_write:
            self.write()
            seconds = time.monotonic() - began
            self._next_write = began + max(_SECONDS_BETWEEN_WRITES, seconds / _SHARE_OF_WRITING)

    def finish(self, partial: bool) -> None:
        """Write the last state, and whether work is missing from it; an older file stays where there is no record."""
        self._partial = partial
        if self.records:
            self.write()

    def content(self) -> dict[str, object]:
        """Everything but the single cases, as JSON values."""
        sets = mean_per_set(self.records)
        return {
            **self._header,
            "partial": self._partial,
            "seconds": time.monotonic() - self._start,
            "mean": mean_over_sets(sets),
            **self._protocol.extras(self.records),
            "sets": sets,
        }

    def write(self) -> None:
        """Replace the file in one step, so that no reader ever finds half of it.

        Raises:
            OutputError: it cannot be written.
        """
        if self._path is None:
            return
        head = json.dumps(_rounded(self.content()), indent=1, allow_nan=False)
        # One case a line: a person can read the figures above, and the file stays small.
        cases = ",\n  ".join(json.dumps(_rounded(_as_json(record)), allow_nan=False) for record in self.records)
        scratch = self._path.with_name(self._path.name + ".part")
        try:
            scratch.write_text(f'{head[:-2]},\n "cases": [\n  {cases}\n ]\n}}\n', encoding="utf-8")
            os.replace(scratch, self._path)
        except OSError as error:
            raise OutputError(f"{self._path} cannot be written ({error.strerror}); choose another --json.") from error
        finally:
            scratch.unlink(missing_ok=True)


def _as_json(record: Record) -> dict[str, object]:
    return {
        "set": record.set_name,
        "case": record.case,
        "label": record.label,
        "method": record.method,
        **record.values,
        **record.details,
    }


def _rounded(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _rounded(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(part) for part in value]
    return round(value, _DIGITS) if isinstance(value, float) else value
