"""The part of the self test that needs Slicer's main window: registrations, our panel, Segment Editor's Undo.

pytest calls the same steps on stand-ins, which proves that our side works, and nothing about Slicer's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer

from MedPerSAMLib.mrml.panel_state import BUSY, FINISHED
from MedPerSAMLib.mrml.sample_data import SAMPLE_NAME, load_sample
from MedPerSAMLib.mrml.segment_reader import read_mask, segment_ids
from MedPerSAMLib.mrml.self_test import FAST, require
from MedPerSAMLib.mrml.targets import SAME_SEGMENT

EFFECT_NAME = "Propagate slice"
LIMIT_S = 60.0
"""A run of the fast method ends within seconds, on any computer within a minute."""

_PAUSE_S = 0.01
"""Between two looks, so that waiting leaves the processor to the run."""


@dataclass(frozen=True)
class Window:
    """What the steps press.

    Attributes:
        panel: our module's widget.
        editor: Segment Editor's qMRMLSegmentEditorWidget.
        wait: lets Qt do what is due.
    """

    panel: Any
    editor: Any
    wait: Callable[[], Any]


def open_window() -> Window:
    """Open Segment Editor and then our module, as a user does."""
    slicer.util.selectModule("SegmentEditor")
    editor = slicer.util.getModuleWidget("SegmentEditor").editor
    slicer.util.selectModule("MedPerSAM")
    return Window(slicer.util.getModuleWidget("MedPerSAM"), editor, slicer.app.processEvents)


def registrations(window: Window) -> None:
    """Our effect is in Segment Editor, our sample in Sample Data."""
    require(window.editor.effectByName(EFFECT_NAME) is not None, f"Segment Editor has no effect {EFFECT_NAME!r}")
    names = [source.sampleName for source in slicer.modules.sampleDataSources.get("MedPerSAM", [])]
    require(SAMPLE_NAME in names, f"Sample Data offers {names}, not {SAMPLE_NAME!r}")


def panel(window: Window) -> None:
    """The panel takes the sample by itself; Propagate runs to its end, Discard takes the result back."""
    volume, segmentation = load_sample()
    window.panel.enter()
    chosen = window.panel.presenter.parameters
    require(chosen.volume is volume and chosen.segmentation is segmentation, "the sample was not chosen")
    require(bool(chosen.segmentIDs), "none of the drawn segments was checked")
    before = _masks(segmentation, volume)
    _propagate(window)
    require(not np.array_equal(_masks(segmentation, volume), before), "nothing was propagated")
    window.panel.ui.discardButton.click()
    require(np.array_equal(_masks(segmentation, volume), before), "Discard left something behind")


def editor_undo(window: Window) -> None:
    """Segment Editor's Undo takes a propagation back in one step."""
    volume, segmentation = load_sample()
    window.editor.setSegmentationNode(segmentation)
    window.editor.setSourceVolumeNode(volume)
    window.panel.enter()
    before = _masks(segmentation, volume)
    _propagate(window)
    require(not np.array_equal(_masks(segmentation, volume), before), "nothing was propagated")
    window.editor.undo()
    require(np.array_equal(_masks(segmentation, volume), before), "Undo left something behind")


def _propagate(window: Window) -> None:
    """Press the main button and wait until the run has finished."""
    presenter, button = window.panel.presenter, window.panel.ui.mainButton
    presenter.parameters.method, presenter.parameters.device = FAST["method"], FAST["device"]
    presenter.parameters.target = SAME_SEGMENT
    require(bool(button.property("enabled")), f"Propagate cannot be pressed: {presenter.state.found}")
    button.click()
    end = time.monotonic() + LIMIT_S
    while presenter.state.phase in BUSY:
        require(time.monotonic() < end, f"the run has not ended after {LIMIT_S:.0f} s: {presenter.state.status}")
        window.wait()
        time.sleep(_PAUSE_S)
    require(presenter.state.phase == FINISHED, f"the run ended with: {presenter.state.status}")


def _masks(segmentation, volume) -> np.ndarray:
    return np.array([read_mask(segmentation, segment_id, volume) for segment_id in segment_ids(segmentation)])


READING = (registrations,)
"""Steps that need no package besides Slicer's own."""

COMPUTING = (panel, editor_undo)
"""Steps that need all packages."""
