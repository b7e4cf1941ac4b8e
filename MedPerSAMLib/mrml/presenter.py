"""The flow behind the panel: what is found, what can be pressed, what came out. No Qt; a widget or a test calls it."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable

import slicer

from MedPerSAMLib.core.task import Propagation
from MedPerSAMLib.errors import MedPerSAMError, ModelError
from MedPerSAMLib.mrml.applied_run import AppliedRun
from MedPerSAMLib.mrml.checked_segments import CheckedSegments
from MedPerSAMLib.mrml.choices import Parameters, device_line, fill_empty, follow_editor, limit_range, tidy_range
from MedPerSAMLib.mrml.continuation import Continuation
from MedPerSAMLib.mrml.dependencies import Dependencies
from MedPerSAMLib.mrml.found_line import Found, look_at
from MedPerSAMLib.mrml.learning_presenter import LearningPresenter
from MedPerSAMLib.mrml.medpersam_logic import MedPerSAMLogic
from MedPerSAMLib.mrml.method_list import method_row
from MedPerSAMLib.mrml.model_presenter import ModelPresenter
from MedPerSAMLib.mrml.panel_state import (
    APPLYING,
    BUSY,
    CANCELLING,
    FINISHED,
    FITTING,
    IDLE,
    INSTALLING,
    LOADING,
    RUNNING,
    PanelState,
)
from MedPerSAMLib.mrml.propagation_run import PropagationRun
from MedPerSAMLib.mrml.result_navigator import ResultNavigator
from MedPerSAMLib.mrml.run_controller import RunController, Work
from MedPerSAMLib.mrml.signal import Signal
from MedPerSAMLib.mrml.snap_presenter import SnapPresenter
from MedPerSAMLib.mrml.surfaces import reveal, show_surfaces
from MedPerSAMLib.mrml.undo_step import LOST, NO_STEP, NOT_UNDONE
from MedPerSAMLib.mrml.views import axis_of_view, shown_slice
from MedPerSAMLib.services.jobs import Jobs
from MedPerSAMLib.services.models.store import ModelStore
from MedPerSAMLib.services.preload import prepare_all

LOG_LINES = 500
NO_AXIS_REASON = "Outline a checked segment on a slice first: the range counts the slices that it is drawn on."


class Presenter:
    """The panel without its widgets.

    Args:
        scene: the MRML scene.
        logic: carries out propagations, fits and applications.
        jobs: runs them in the background.
        dependencies: tells and installs packages.
        store: the user's models; the default folder unless given.
        editor: gives Segment Editor's node, or None.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        scene: slicer.vtkMRMLScene,
        logic: MedPerSAMLogic,
        jobs: Jobs,
        dependencies: Dependencies,
        store: ModelStore | None = None,
        editor: Callable[[], slicer.vtkMRMLSegmentEditorNode | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.changed = Signal()
        self.state = PanelState(dependencies=dependencies.status())
        self.parameters: Parameters | None = None
        self.navigator: ResultNavigator | None = None
        self.results: dict[str, Propagation] = {}
        self.editor = editor
        self._scene, self._logic, self._dependencies = scene, logic, dependencies
        self._found: Found | None = None
        self._imported = False
        self._checked, self._continuation = CheckedSegments(), Continuation()
        self._work = RunController(jobs, clock)
        self._work.changed.connect(self._work_changed)
        self._work.told.connect(self.tell)
        self._work.detailed.connect(self._keep_details)
        self._work.kept.connect(self._continue_in_target)
        self._work.ended.connect(self._work_ended)
        logic.accepted.connect(self._accepted)
        self.models = ModelPresenter(self._start_model_job, store)
        self.models.changed.connect(self.inputs_changed)
        self.learning = LearningPresenter(scene, logic, self._work, self)
        self.snap = SnapPresenter(scene, logic, self._work, self)

    # What the user chooses

    def set_parameters(self, parameters: Parameters | None) -> None:
        """Show another set of choices, as after opening a scene."""
        if parameters is not self.parameters:
            self._continuation.forget()
        self.parameters = parameters
        self.inputs_changed()

    def inputs_changed(self) -> None:
        """Look at the inputs again: called after a choice or an edit; does nothing while a run writes."""
        if self.state.phase in BUSY:
            return
        self._drop_undone()
        self._choose_again()
        self._checked.tidy(self.parameters)
        tidy_range(self.parameters, 0 if self._found is None else self._found.slice_count)
        self._found = look_at(self.parameters, self._scene)
        state = self.state
        state.found, state.slice_count, state.plane = self._found.text, self._found.slice_count, self._found.plane
        state.limit_reason = "" if self._found.axis is not None else NO_AXIS_REASON
        state.can_show_3d = self.parameters is not None and self.parameters.segmentation is not None
        state.dependencies, state.device = self._dependencies.status(), self._device_line()
        reason = self._model_reason()
        if self._found.ready and reason:
            state.found = f"{state.found} {reason}"
        state.ready = self._found.ready and not reason
        self._import_ahead()
        self._show()

    def fill_from_editor(self) -> None:
        """Take volume, segmentation and segment from Segment Editor, where the user has just drawn; what is not chosen
        there or here, from the views and the scene."""
        if self.parameters is None or self.state.phase in BUSY:
            return
        editor = self.editor()
        if editor is not None:
            follow_editor(self.parameters, editor)
        fill_empty(self.parameters, self._scene)
        self.inputs_changed()

    def first_slice_here(self) -> None:
        """Let the range begin at the slice that is shown."""
        self._limit_here(first=True)

    def last_slice_here(self) -> None:
        """Let the range end at the slice that is shown."""
        self._limit_here(first=False)

    # What the user presses

    def press_main(self) -> None:
        """Propagate, or Cancel while something runs."""
        if self.state.phase in BUSY:
            if self.state.activity not in (FITTING, APPLYING):
                self.cancel()
        elif self.state.ready:
            self.propagate()

    def propagate(self) -> None:
        """Start a run."""
        parameters = self.parameters
        wanted = range(parameters.firstSlice, parameters.lastSlice + 1) if parameters.limitRange else None
        try:
            self.install()
            self.models.refresh()
            if reason := self._model_reason():
                raise ModelError(reason)
            found = look_at(parameters, self._scene)
            run = self._logic.start(
                parameters.volume,
                parameters.segmentation,
                list(found.segment_ids or parameters.segmentIDs),
                parameters.method,
                parameters.model or None,
                parameters.device,
                wanted,
                self._continuation.target(parameters),
                self.editor(),
                axis_of_view(self._scene, parameters.volume),
            )
        except Exception as error:  # noqa: BLE001 - whatever it was, the panel must be usable again
            self._work.fail(self.explain(error, "The run could not be started"))
            return
        self.tell(found.text)
        self._continuation.begin(parameters)
        self._work.start_run(run, lambda progress: self._logic.compute(run, progress))

    def start_run(self, run: AppliedRun) -> None:
        """Apply a profile; what comes out is looked at, corrected and decided on like a propagation."""
        self._continuation.begin(self.parameters)
        self._work.start_run(run, run.compute, APPLYING)

    def cancel(self) -> None:
        """Stop what runs, within a second; keeps nothing unless the user asked to keep finished slices."""
        self._work.cancel(self.parameters is not None and bool(self.parameters.keepFinished))

    def accept(self) -> None:
        """Keep the result."""
        if self.state.phase not in BUSY:
            self._logic.accept()
            self.learning.decided()
            self._settle("Accepted.")

    def discard(self) -> None:
        """Take the result back; what the user drew stays."""
        if self.state.phase not in BUSY:
            parameters = self.parameters
            # Asked before: Segment Editor, which the effect follows, chooses something as soon as its segment is gone.
            worked_on = parameters is not None and self._continuation.worked_on(parameters)
            kept = self._logic.discard()
            if worked_on:
                self._continuation.restore_if_gone(parameters, worked_on)
            self.learning.decided()
            self._use(None)
            stays = f"; {kept} slice{'s' * (kept > 1)} that you corrected stay{'s' * (kept == 1)}" if kept else ""
            self._settle(f"Discarded{stays}.")

    def undo(self) -> None:
        """Take the last propagation back, also an accepted one; or the last snap."""
        self._take_step(self.state.undo_reason, self._logic.undo_last, "The {} is undone; Redo brings it back.")

    def redo(self) -> None:
        """Bring back what was undone."""
        self._take_step(self.state.redo_reason, self._logic.redo_last, "The {} is back{}.")

    def go_to_worst(self) -> None:
        """Show the least certain slice."""
        self._navigate("worst")

    def go_to_next(self) -> None:
        """Show the next uncertain slice."""
        self._navigate("next")

    def go_to_previous(self) -> None:
        """Show the uncertain slice before."""
        self._navigate("previous")

    def show_3d(self) -> None:
        """Make and show the closed surface of the segmentation."""
        if self.parameters is not None and self.parameters.segmentation is not None and self.state.phase not in BUSY:
            show_surfaces([self.parameters.segmentation])
            reveal(self.parameters.segmentation)

    # What happens meanwhile

    def tick(self) -> None:
        """Fetch news from the background; called every 20-50 ms on the main thread."""
        self._work.tick()
        line = self._device_line()
        if self.state.device != line and self.state.phase not in BUSY:
            self.state.device = line
            self._show()

    def scene_closing(self) -> None:
        """Let everything of the scene go; nothing is written any more."""
        self._work.drop()
        self._use(None)
        self.parameters = None
        self._continuation.forget()
        self.learning.forget()
        self._logic.forget()
        self.state = PanelState(dependencies=self._dependencies.status(), log=self.state.log)
        self.learning.refresh()
        self.changed.emit()

    def close(self, timeout_s: float = 1.0) -> bool:
        """End the work, as at module reload or quit, leaving no half result in the scene; whether the worker ended."""
        self.changed.disconnect_all()
        self.models.changed.disconnect_all()
        self._logic.accepted.disconnect(self._accepted)
        return self._work.close(timeout_s)

    def _work_changed(self) -> None:
        self.state.phase, self.state.status, self.state.progress = (
            self._work.phase,
            self._work.status,
            self._work.progress,
        )
        self._show()

    def _work_ended(self, phase: str, run: PropagationRun | None, results: dict[str, Propagation] | None) -> None:
        self.state.phase, self.state.progress = phase, 0.0
        if phase == FINISHED:
            self.state.progress = 100.0
            self._use(ResultNavigator(self._scene, run, results))
            self.tell(self.state.result)
            self._continue_in_target(run)
            self.state.status = (
                "Finished. Look at the least certain slices; correct one and propagate again, or accept."
            )
            if isinstance(run, AppliedRun):
                self.learning.applied(run)
        self.inputs_changed()

    def _continue_in_target(self, run: PropagationRun) -> None:
        """After a result went into other segments than those chosen, corrections go on there."""
        if self.parameters is not None and self._continuation.follow(self.parameters, run):
            self.tell("Corrections go on in the segments of the result.")

    def _choose_again(self) -> None:
        """What was chosen before a result, where the result is gone or is that of another volume."""
        parameters, continuation = self.parameters, self._continuation
        if parameters is None:
            return
        continuation.restore_if_gone(parameters, continuation.worked_on(parameters))
        if left := continuation.restore_for_another_volume(parameters):
            self.tell(f"{left} is not that of {parameters.volume.GetName()}, so it is no longer chosen.")

    def target_of_apply(self) -> tuple[str, dict[str, str]]:
        """Where an application of a profile goes, as ``start_apply`` is told: target and places."""
        return self._continuation.target_of_apply(self.parameters, self._logic.pending)

    def _start_model_job(self, work: Callable, title: str, done: Callable[[str], None]) -> bool:
        if self.state.phase in BUSY:
            return False

        def ended(sentence: str) -> None:
            done(sentence)
            self.tell(sentence)

        self._work.start_work(Work(title, work, ended))
        return True

    def install(self) -> None:
        """Install missing packages, with consent; raises DependencyError after a refusal or failure."""
        if self._dependencies.missing():
            self.state.phase, self.state.status, self.state.progress = INSTALLING, "Installing packages ...", None
            self._show()
            try:
                self._dependencies.install()
            finally:
                self.state.phase, self.state.progress = self._work.phase, 0.0

    def _device_line(self) -> str:
        chosen = self.parameters
        too_large = chosen is not None and self._logic.sessions.too_large(chosen.model or None, chosen.device)
        return device_line(chosen, too_large)

    def _import_ahead(self) -> None:
        """Once there is something to work on, import in the background what a run needs, and find out its device: PyTorch's
        own initialisation holds Python's lock for up to a tenth of a second, and a run that finds it done starts at once."""
        chosen = self.parameters
        if self._imported or chosen is None or chosen.volume is None or chosen.segmentation is None:
            return
        if not self._dependencies.missing():
            self._imported = True
            self._work.prepare(prepare_all)

    def _model_reason(self) -> str:
        if self.parameters is None or not method_row(self.parameters.method).needs_model:
            return ""
        return self.models.reason(self.parameters.model)

    def _limit_here(self, first: bool) -> None:
        if self._found is None or self._found.axis is None or self.state.phase in BUSY:
            return
        here = shown_slice(self._scene, self.parameters.volume, self._found.axis)
        if here is None:
            self.tell("No slice view shows a slice; type its number instead.")
            self._show()
            return
        limit_range(self.parameters, here, first, self._found.slice_count)
        self.inputs_changed()

    def _navigate(self, where: str) -> None:
        if self.navigator is not None and self.state.phase not in BUSY:
            getattr(self.navigator, where)()
            self._show()

    def _use(self, navigator: ResultNavigator | None) -> None:
        """Show another result, or none."""
        self.navigator, self.results = navigator, {} if navigator is None else navigator.results
        self.state.result = "" if navigator is None else navigator.summary()

    def _drop_undone(self) -> None:
        """Let go a result that is no longer in the scene: the user has undone it, or removed its segment."""
        undone = self._logic.drop_undone()
        left = None if self.navigator is None else self.navigator.without(undone)
        if left is self.navigator:
            return
        self._use(left)
        self.tell("The last result was undone or its segment removed, so its confidence is no longer shown.")
        if self.state.phase == FINISHED:
            self.state.phase, self.state.progress = IDLE, 0.0

    def _take_step(self, reason: str, move: Callable[[], bool], sentence: str) -> None:
        if self.state.phase in BUSY or reason:
            return
        if not move():
            self.tell(LOST)
            self._show()
            return
        step = self._logic.step
        if step.targets:
            self.learning.decided()
        self._drop_undone()  # as after Segment Editor's Undo
        self._settle(sentence.format(step.what, ", without its confidence" if step.targets else ""))

    def _accepted(self, names: list[str]) -> None:
        self.tell(
            f"The earlier result of {', '.join(names)} counts as accepted: a run on others, or on other slices, begins."
        )

    def _settle(self, sentence: str) -> None:
        self.tell(sentence)
        self.state.phase, self.state.progress = IDLE, 0.0
        self.inputs_changed()

    def _show(self) -> None:
        state = self.state
        busy = state.phase in BUSY
        state.inputs_enabled = not busy
        elsewhere = busy and self._work.activity in (FITTING, APPLYING)
        state.activity = self._work.activity
        state.button = "Cancel" if state.phase in (LOADING, RUNNING, CANCELLING) and not elsewhere else "Propagate"
        state.button_enabled = (state.phase in (LOADING, RUNNING) and not elsewhere) or (not busy and state.ready)
        state.button_tip = ""
        if not state.button_enabled:
            running = f"A {state.activity} is running; wait for its end, or cancel it where it was started."
            state.button_tip = running if elsewhere else state.found
        state.snap_reason = self.snap.reason(None if self._found is None else self._found.axis)
        state.can_decide = not busy and self._logic.pending
        step, wait = self._logic.step, f"A {state.activity} is running; wait for its end, or cancel it." if busy else ""
        state.undo_reason = wait or (NO_STEP if step is None else step.undo_reason)
        state.redo_reason = wait or (NOT_UNDONE if step is None else step.redo_reason)
        state.can_navigate = not busy and self.navigator is not None and bool(self.navigator.stops)
        state.position = "" if busy or self.navigator is None else self.navigator.position
        state.table = "" if self.navigator is None else self.navigator.structure.name
        self.learning.refresh()
        self.changed.emit()

    def tell(self, sentence: str) -> None:
        """Show a sentence and put it into the log."""
        self.state.status, log = sentence, self.state.log
        if not (log and log[-1].endswith(f"  {sentence}")):
            log.append(f"{time.strftime('%H:%M:%S')}  {sentence}")
        del self.state.log[:-LOG_LINES]

    def explain(self, error: Exception, what: str) -> str:
        """The sentence about an error; for one that nobody foresaw it says what failed, and the log has the details."""
        if isinstance(error, MedPerSAMError):
            return str(error)
        self._keep_details("".join(traceback.format_exception(error)))
        return f"{what} ({type(error).__name__}: {error}); look at the details in the log and try again."

    def _keep_details(self, details: str) -> None:
        """Put the details of a failure into the log, so that Copy has them."""
        self.state.log.extend(details.splitlines())
        del self.state.log[:-LOG_LINES]
