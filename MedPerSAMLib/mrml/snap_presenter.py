"""The flow of Snap: whether it can be pressed, the background work, what is told. No Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import slicer

from MedPerSAMLib.mrml.choices import Parameters
from MedPerSAMLib.mrml.host import Host
from MedPerSAMLib.mrml.logic import DEFAULT_METHOD, PropagationLogic
from MedPerSAMLib.mrml.method_list import method_row
from MedPerSAMLib.mrml.panel_state import BUSY
from MedPerSAMLib.mrml.run_controller import RunController, Work
from MedPerSAMLib.mrml.snap import Snap, plan_snap

if TYPE_CHECKING:
    from MedPerSAMLib.core.outline import Outline

NOTHING_DRAWN = "Draw a rectangle or a rough shape around the structure on a slice first, in one checked segment."
SEVERAL = "Check only the segment whose shape is rough: the careful outlines of the others would be replaced, too."


class SnapPresenter:
    """The button without its widget.

    Args:
        scene: the MRML scene.
        logic: its sessions and its undo history are used.
        work: carries the background work.
        host: the presenter of the whole panel.
    """

    def __init__(self, scene: slicer.vtkMRMLScene, logic: PropagationLogic, work: RunController, host: Host) -> None:
        self._scene, self._logic, self._work, self._host = scene, logic, work, host

    def reason(self, axis: int | None) -> str:
        """Why it cannot be pressed; empty where it can. ``axis`` is that of the checked segments' drawn slices."""
        host = self._host
        if host.state.phase in BUSY:
            return f"A {host.state.activity} is running; wait for its end, or cancel it."
        if host.parameters is None or axis is None:
            return NOTHING_DRAWN
        if len(host.parameters.segmentIDs) > 1:
            return SEVERAL
        return host.models.reason(host.parameters.model)

    def press(self) -> None:
        """Outline the structure in the shape on the shown slice."""
        host, parameters = self._host, self._host.parameters
        if host.state.phase in BUSY or host.state.snap_reason:
            return
        try:
            host.install()
            plan = self._plan(parameters)
        except Exception as error:  # noqa: BLE001 - whatever it was, the panel must be usable again
            self._work.fail(host.explain(error, "The shape could not be read"))
            return
        self._work.start_work(
            Work(
                f"Snapping {plan.name}",
                lambda progress: plan.compute(self._logic.sessions, progress),
                host.tell,
                lambda outline: self._write(plan, outline),
            )
        )

    def _plan(self, parameters: Parameters) -> Snap:
        method = parameters.method if method_row(parameters.method).needs_model else DEFAULT_METHOD
        choices = method, parameters.model or None, parameters.device
        where = parameters.volume, parameters.segmentation, parameters.segmentIDs[0]
        return plan_snap(*where, choices, self._scene, self._host.editor())

    def _write(self, plan: Snap, outline: Outline) -> str:
        name = plan.name
        self._logic.step = plan.write(outline, self._logic.undo)
        return f"{name} is outlined (predicted IoU {outline.predicted_iou:.2f}). Look at it; press Undo, or draw on it, where it is wrong."
