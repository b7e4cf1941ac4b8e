"""Makes the pictures of README and tutorial: a real run of the module's panel on the embedded sample, and Slicer's
views of it.

Usage: ``python Testing/render_screenshots.py [learning]`` (slicer-core, PySide6, the embedded weights; some minutes; with
"learning" only the panel of a fit). The panel is
the real widget class on the stand-ins of Testing/slicer_module; slice and surface are drawn by Slicer's own displayable
managers.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "Testing" / "slicer_module")]
FOLDER = ROOT / "Resources" / "Screenshots"

import numpy as np
import qt_stand_ins
import rendering
import scene as build
import SimpleITK
import slicer

from MedPerSAMLib.mrml.geometry import slice_centre
from MedPerSAMLib.mrml.sample_data import load_sample
from MedPerSAMLib.sample import REFERENCE_SLICE, sample_paths


def main() -> None:
    """Run once and draw everything."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    module = qt_stand_ins.module()
    build.clear()
    volume, segmentation = load_sample()
    if "learning" not in sys.argv:
        propagation(module, volume, segmentation)
    widget = module.MedPerSAMWidget()
    widget.setup()
    widget.enter()
    widget._parameters.device = "cpu"
    learning(widget, volume)
    widget.cleanup()
    slicer.mrmlScene.Clear(0)
    sys.stdout.flush()
    os._exit(0)  # the views' logics are destroyed in no defined order at a normal exit, and some do not survive that


def propagation(module, volume, segmentation) -> None:
    """The sample propagated from its annotated slice: panel, slices and surfaces."""
    volume.GetDisplayNode().AutoWindowLevelOn()
    point = slice_centre(volume, 0, REFERENCE_SLICE)
    rendering.slice_picture(volume, segmentation, FOLDER / "annotated-slice.png", "Red", "Axial", point)
    rendering.slice_picture(volume, segmentation, FOLDER / "annotated-coronal.png", "Green", "Coronal", point)

    widget = module.MedPerSAMWidget()
    widget.setup()
    widget.enter()
    widget._parameters.device = "cpu"  # all else was filled in
    qt_stand_ins.picture(widget.parent, FOLDER / "panel-idle.png")
    begin, pictured = time.perf_counter(), False
    widget.ui.mainButton.click()
    while widget.presenter.state.phase in ("loading model", "running"):
        qt_stand_ins.process_events(100)
        status = widget.presenter.state.status
        if not pictured and "(2 of" in status and "confidence" in status:
            qt_stand_ins.picture(widget.parent, FOLDER / "panel-running.png")
            pictured = True
    print(f"{widget.presenter.state.phase} after {time.perf_counter() - begin:.0f} s: {widget.presenter.state.result}")
    widget.ui.worstButton.click()
    qt_stand_ins.picture(widget.parent, FOLDER / "panel-finished.png")

    rendering.slice_picture(volume, segmentation, FOLDER / "slice.png", "Yellow", "Coronal", point)
    rendering.slice_picture(
        volume,
        segmentation,
        FOLDER / "slice-axial.png",
        "Slice4",
        "Axial",
        slice_centre(volume, 0, REFERENCE_SLICE + 5),
    )
    rendering.surface_picture(segmentation, FOLDER / "surface.png")
    widget.ui.discardButton.click()
    widget.cleanup()


def learning(widget, volume) -> None:
    """Fit on the finished sample, apply to another generated abdomen, and draw the panel with its section open."""
    from MedPerSAMLib.sample.phantom import LABELS

    organs = {value: name for value, name in LABELS.items() if name in ("liver", "spleen")}
    next_volume, finished = _next_abdomen(volume), build.segmentation_node(volume, *organs.values())
    finished.SetName("finished organs")
    labels = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(sample_paths().truth)))
    for value, name in organs.items():
        build.paint(finished, name, volume, labels == value)
    parameters, section = widget._parameters, widget.presenter.learning.state
    parameters.volume, parameters.segmentation, parameters.segmentIDs = volume, finished, []
    widget.ui.addCaseButton.click()
    begin = time.perf_counter()
    widget.ui.fitButton.click()
    while widget.presenter.state.phase in ("loading model", "running"):
        qt_stand_ins.process_events(100)
    print(f"fit after {time.perf_counter() - begin:.0f} s: {section.profile}")
    parameters.volume, parameters.segmentation = next_volume, None
    widget.ui.applyButton.click()
    while widget.presenter.state.phase in ("loading model", "running"):
        qt_stand_ins.process_events(100)
    widget.ui.worstButton.click()
    widget.ui.learningSection.setProperty("collapsed", False)
    for name in ("inputsSection", "methodSection", "whereSection"):
        getattr(widget.ui, name).setProperty("collapsed", True)
    qt_stand_ins.picture(widget.parent, FOLDER / "panel-learning.png")
    print(widget.presenter.state.result)


def _next_abdomen(volume):
    """The sample with its patient shifted and other noise: the next case."""
    array = slicer.util.arrayFromVolume(volume)
    noise = np.random.default_rng(1).normal(0, 0.02 * float(np.ptp(array)), array.shape)
    moved = np.roll(array, (4, -6), (1, 2)) + noise
    node = build.volume_node(np.ascontiguousarray(moved.astype(array.dtype)), name="next abdomen")
    node.CopyOrientation(volume)
    return node


if __name__ == "__main__":
    main()
