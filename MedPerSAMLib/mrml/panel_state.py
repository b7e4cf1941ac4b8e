"""What the panel shows, as plain values: the presenter writes them, the widget copies them onto its widgets."""

from __future__ import annotations

from dataclasses import dataclass, field

from MedPerSAMLib.mrml.undo_step import NO_STEP, NOT_UNDONE

IDLE, INSTALLING, LOADING, RUNNING = "idle", "installing", "loading model", "running"
CANCELLING, FINISHED, FAILED = "cancelling", "finished", "failed"
PHASES = (IDLE, INSTALLING, LOADING, RUNNING, CANCELLING, FINISHED, FAILED)
"""What the panel is doing."""

BUSY = frozenset({INSTALLING, LOADING, RUNNING, CANCELLING})
"""Phases in which inputs cannot be changed."""

PROPAGATING, FITTING, APPLYING, OTHER = "propagation", "fit", "application of a profile", "other work"
"""Kinds of background work; each is cancelled by the button that started it, other work by the main button."""


@dataclass
class PanelState:
    """One picture of the panel.

    Attributes:
        phase: one of PHASES.
        activity: which kind of work is going on, or was last.
        found: what was found in the chosen segments, or what is missing.
        ready: whether Propagate would work.
        button: text of the main button.
        button_enabled: whether it can be pressed.
        button_tip: why it cannot be pressed; empty where it can.
        inputs_enabled: whether inputs can be changed.
        device: which device will be used and why.
        dependencies: which packages are there, or what will be asked for.
        slice_count: slices along the annotated axis; 0 if unknown.
        plane: what these slices are called.
        progress: percent, or None while it cannot be told.
        status: one sentence: phase, slice, seconds left; or the result; or what went wrong and the remedy.
        result: one sentence on the result's confidence.
        can_decide: whether there is something to accept or discard.
        undo_reason: why the last propagation cannot be undone; empty where it can.
        redo_reason: why it cannot be brought back; empty where it can.
        can_navigate: whether there are uncertain slices to go to.
        can_show_3d: whether there is a segmentation to show.
        position: "Liver, slice 12: confidence 0.41 (3 of 12)" among the uncertain slices.
        table: name of the structure whose confidence is in the table; empty without one.
        limit_reason: why the range cannot begin or end at the shown slice; empty where it can.
        snap_reason: why the drawn shape cannot be snapped; empty where it can.
        log: everything that was told, line by line.
    """

    phase: str = IDLE
    activity: str = PROPAGATING
    found: str = "Choose a volume and a segmentation."
    ready: bool = False
    button: str = "Propagate"
    button_enabled: bool = False
    button_tip: str = ""
    inputs_enabled: bool = True
    device: str = ""
    dependencies: str = ""
    slice_count: int = 0
    plane: str = ""
    progress: float | None = 0.0
    status: str = ""
    result: str = ""
    can_decide: bool = False
    undo_reason: str = NO_STEP
    redo_reason: str = NOT_UNDONE
    can_navigate: bool = False
    can_show_3d: bool = False
    position: str = ""
    table: str = ""
    limit_reason: str = ""
    snap_reason: str = ""
    log: list[str] = field(default_factory=list)
