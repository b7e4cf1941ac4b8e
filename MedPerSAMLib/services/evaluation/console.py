"""What a person sees while an evaluation runs: where it is, and a line for each result."""

from __future__ import annotations

from MedPerSAMLib.services.evaluation.records import Record
from MedPerSAMLib.services.terminal import TerminalProgress


class ConsoleProgress(TerminalProgress):
    """Shows phases on a terminal; without one only results are printed, for a run has thousands of phases."""

    def on_step(self, phase: str, done: int, total: int) -> None:
        if self._terminal:
            super().on_step(phase, done, total)

    def record(self, record: Record) -> None:
        """Print a result."""
        figures = ", ".join(f"{key} {value:.3f}" for key, value in record.values.items() if value is not None)
        self.line(f"{record.set_name}/{record.case}  {record.method}  {record.label}: {figures}")
        for note in record.details.get("notes", ()):
            self.line(f"    {note}")
