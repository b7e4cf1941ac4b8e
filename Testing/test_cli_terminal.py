"""What is shown while work goes on, and how it is stopped."""

from __future__ import annotations

import io
import signal

import pytest

from MedPerSAMLib.errors import Cancelled
from MedPerSAMLib.services.interrupt import Interrupt
from MedPerSAMLib.services.terminal import TerminalProgress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_one_rewritten_line_with_seconds_left():
    stream, now = Terminal(), [0.0]
    progress = TerminalProgress(stream, clock=lambda: now[0])
    progress.subject = "liver"
    for done in range(5):
        now[0] = done * 2.0
        progress.step("propagating", done, 10)
    text = stream.getvalue()
    assert "\n" not in text
    assert text.rsplit("\r", 1)[1].rstrip() == "liver: propagating, 4 of 10, 12 s left"
    progress.line("done")
    assert stream.getvalue().endswith("\rdone\n")


def test_quiet_lines_elsewhere():
    stream = io.StringIO()
    progress = TerminalProgress(stream)
    for start in range(0, 50, 10):
        for phase in ("encoding", "propagating"):
            for done in range(start, start + 10):
                progress.step(phase, done, 50)
    assert stream.getvalue() == "encoding (50)\npropagating (50)\n"


def test_first_ctrl_c_is_a_wish_the_second_an_end():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), Interrupt() as interrupt:
        progress = TerminalProgress(io.StringIO(), is_cancelled=interrupt.asked)
        progress.step("working", 0, 2)
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Cancelled):
            progress.step("working", 1, 2)
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
