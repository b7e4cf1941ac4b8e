"""Measures what a user feels in the module: event-loop gaps during a run, cancel to idle, one slice written, a
correction's time.

Usage: ``python Testing/benchmarks/slicer_panel.py [--method med-persam | --learner autosam-cnn] [--only-first] [--json FILE]``. Runs the real widget class on
PySide6 off screen with the stand-ins of Testing/slicer_module, on the embedded sample; a 10 ms timer measures the gaps.
"""

from __future__ import annotations

import argparse
import builtins
import json
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "Testing" / "slicer_module")]

import numpy as np

PLAIN_IMPORT = builtins.__import__

import qt_stand_ins
import scene as build
import slicer
from PySide6 import QtCore

# PySide6 reads the source of every module that is imported after it, to look for its own name; Slicer's PythonQt does not.
builtins.__import__ = PLAIN_IMPORT

TIMER_MS = 10


class GapMeter:
    """The longest times between two ticks of a timer, in milliseconds."""

    def __init__(self) -> None:
        self.gaps: list[float] = []
        self._last = None
        self._timer = QtCore.QTimer()
        self._timer.setTimerType(QtCore.Qt.PreciseTimer)
        self._timer.setInterval(TIMER_MS)
        self._timer.timeout.connect(self._tick)

    def start(self) -> None:
        """Begin anew."""
        self.gaps, self._last = [], time.perf_counter()
        self._timer.start()

    def stop(self) -> dict[str, float]:
        """The longest gap, and how many were longer than 50 and 100 ms."""
        self._timer.stop()
        self._tick()
        gaps = np.array(self.gaps)
        return {
            "longest_ms": round(float(gaps.max()), 1),
            "over_50_ms": int((gaps > 50).sum()),
            "over_100_ms": int((gaps > 100).sum()),
        }

    def _tick(self) -> None:
        now = time.perf_counter()
        self.gaps.append((now - self._last) * 1e3)
        self._last = now


def wait_until(condition, timeout_s: float = 600.0) -> float:
    """Run the event loop until ``condition()``; seconds it took."""
    begin, loop = time.perf_counter(), QtCore.QEventLoop()
    poll = QtCore.QTimer()
    poll.setInterval(20)  # seldom: the measurement must not take the lock from the work
    poll.timeout.connect(lambda: loop.quit() if condition() or time.perf_counter() - begin > timeout_s else None)
    poll.start()
    loop.exec()
    poll.stop()
    return time.perf_counter() - begin


def measure(method: str, only_first: bool) -> dict:
    """All figures, on the embedded sample; or those up to the end of the first run."""
    module = qt_stand_ins.module()
    build.clear()
    from MedPerSAMLib.mrml.sample_data import load_sample
    from MedPerSAMLib.mrml.segment_reader import read_slice
    from MedPerSAMLib.mrml.segment_writer import write_slice
    from MedPerSAMLib.services.models.load import told_device

    volume, segmentation = load_sample()
    segment = segmentation.GetSegmentation().GetNthSegmentID(0)
    widget = module.MedPerSAMWidget()
    widget.setup()
    widget.enter()
    parameters, state = widget._parameters, lambda: widget.presenter.state.phase
    parameters.volume, parameters.segmentation, parameters.segmentIDs = volume, segmentation, [segment]
    parameters.method, parameters.device = method, "cpu"
    resting = ("finished", "idle", "failed")
    report, meter = {"method": method, "volume": list(slicer.util.arrayFromVolume(volume).shape)}, GapMeter()

    # As a user would find it: what the module prepares in the background, once there are inputs, is done before the click.
    meter.start()
    seconds = wait_until(lambda: told_device("auto") is not None)
    report["preparation"] = {"seconds": round(seconds, 2), **meter.stop()}

    for name in ("first_run_cold", "second_run_after_undo"):
        widget.logic.sessions.clear() if name == "first_run_cold" else None
        meter.start()
        begin = time.perf_counter()
        widget.ui.mainButton.click()
        wait_until(lambda: state() in resting)
        report[name] = {"phase": state(), "seconds": round(time.perf_counter() - begin, 2), **meter.stop()}
        if state() == "failed":
            report["status"] = widget.presenter.state.status
            return report
        if name == "first_run_cold":
            widget.presenter.discard()
            if only_first:
                widget.cleanup()
                return report

    index = widget.presenter.navigator.stops[0].index
    mask = read_slice(segmentation, segment, volume, 0, index)
    write_slice(segmentation, segment, volume, 0, index, np.roll(mask, 1, 1))
    widget.presenter.inputs_changed()
    meter.start()
    begin = time.perf_counter()
    widget.ui.mainButton.click()
    wait_until(lambda: state() in resting)
    report["correction_run"] = {"phase": state(), "seconds": round(time.perf_counter() - begin, 2), **meter.stop()}
    cold = report["first_run_cold"]["seconds"]
    report["correction_over_first"] = round(report["correction_run"]["seconds"] / cold, 3)

    widget.presenter.discard()
    report["cancel_to_idle_s"] = _cancels(widget, state, cold)
    report["slice_512_ms"] = _slice_512()
    report["tutorial"] = _tutorial(widget, volume, segmentation, state)
    widget.cleanup()
    return report


def measure_learning(learner: str) -> dict:
    """Gaps while the sample, all of it outlined, is learned from, and while the profile is applied to it."""
    import SimpleITK

    from MedPerSAMLib.mrml.sample_data import load_sample
    from MedPerSAMLib.sample import sample_paths
    from MedPerSAMLib.sample.phantom import LABELS

    module = qt_stand_ins.module()
    build.clear()
    volume, _ = load_sample()
    finished = build.segmentation_node(volume, *LABELS.values())
    truth = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(sample_paths().truth)))
    for value, name in LABELS.items():
        build.paint(finished, name, volume, truth == value)
    widget = module.MedPerSAMWidget()
    widget.setup()
    widget.enter()
    parameters, state = widget._parameters, widget.presenter.state
    parameters.volume, parameters.segmentation, parameters.segmentIDs = volume, finished, []
    parameters.device, parameters.learner = "cpu", learner
    widget.ui.addCaseButton.click()
    report, meter = {"learner": learner, "volume": list(truth.shape)}, GapMeter()
    for name, button in (("fit", widget.ui.fitButton), ("apply", widget.ui.applyButton)):
        meter.start()
        begin = time.perf_counter()
        button.click()
        pressed = time.perf_counter() - begin
        wait_until(lambda: state.phase in ("finished", "idle", "failed"))
        seconds = round(time.perf_counter() - begin, 2)
        report[name] = {"phase": state.phase, "seconds": seconds, "press_ms": round(pressed * 1e3, 1), **meter.stop()}
        parameters.segmentation = None
    widget.ui.fitButton.click()
    wait_until(lambda: state.status.startswith("Training: 2"), 300)
    widget.ui.fitButton.click()
    report["cancel_to_idle_s"] = round(wait_until(lambda: state.phase == "idle"), 3)
    widget.cleanup()
    return report


def _cancels(widget, state, seconds: float) -> dict[str, float]:
    """Seconds from the press on Cancel to idle, pressed at several moments of a run without cached embeddings."""
    taken = {}
    for share in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9):
        widget.logic.sessions.clear()
        widget.ui.mainButton.click()
        until = time.perf_counter() + share * seconds
        wait_until(lambda until=until: time.perf_counter() >= until or state() not in ("loading model", "running"))
        phase = f"{share:.0%} {widget.presenter.state.status[:40]}"
        if state() in ("loading model", "running"):
            widget.ui.mainButton.click()
            taken[phase] = round(wait_until(lambda: state() == "idle"), 3)
        wait_until(lambda: state() in ("idle", "finished", "failed"))
        widget.presenter.discard()
        wait_until(lambda: False, 1.5)  # a step that was abandoned must not slow the next measurement
    return taken


def _tutorial(widget, volume, segmentation, state) -> dict[str, float]:
    """Seconds from the press on Propagate to the result for all organs of the sample, as README's tutorial has it."""
    widget.logic.sessions.clear()
    content, parameters = segmentation.GetSegmentation(), widget._parameters
    parameters.volume, parameters.segmentation = volume, segmentation
    parameters.segmentIDs = [content.GetNthSegmentID(n) for n in range(content.GetNumberOfSegments())]
    begin = time.perf_counter()
    widget.ui.mainButton.click()
    wait_until(lambda: state() in ("finished", "idle", "failed"))
    return {"phase": state(), "structures": len(parameters.segmentIDs), "seconds": round(time.perf_counter() - begin, 1)}


def _slice_512() -> dict[str, float]:
    from MedPerSAMLib.mrml.segment_writer import make_room, write_slice

    volume = build.volume_node(np.zeros((200, 512, 512), np.int16), (0.7, 0.7, 1.0))
    segmentation = build.segmentation_node(volume, "one", "other")
    rows, columns = np.mgrid[:512, :512]
    disc = (rows - 256) ** 2 + (columns - 256) ** 2 < 200**2
    write_slice(segmentation, "one", volume, 0, 100, disc)
    make_room(segmentation, "one", volume, 0, range(200))
    times = []
    for index in range(200):
        begin = time.perf_counter()
        write_slice(segmentation, "one", volume, 0, index, np.roll(disc, index % 7, 0))
        times.append((time.perf_counter() - begin) * 1e3)
    return {"mean": round(float(np.mean(times)), 2), "longest": round(float(np.max(times)), 2)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", default="med-persam")
    parser.add_argument("--learner", help="measure a fit of this method and its application instead")
    parser.add_argument("--only-first", action="store_true", help="stop after the first run, to repeat it from cold file caches")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    report = measure(arguments.method, arguments.only_first) if arguments.learner is None else measure_learning(arguments.learner)
    print(json.dumps(report, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
