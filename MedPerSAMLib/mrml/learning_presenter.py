"""The flow of "Learn from finished cases": the list of cases, the fit, the profile, and its application. No Qt."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Protocol

import slicer

from MedPerSAMLib.mrml.applied_points import AppliedPoints
from MedPerSAMLib.mrml.applied_run import AppliedRun
from MedPerSAMLib.mrml.choices import Parameters
from MedPerSAMLib.mrml.curve_nodes import CurveNodes
from MedPerSAMLib.mrml.host import Host
from MedPerSAMLib.mrml.learning_reasons import CANCELLING_REASON, again_reason, apply_reason, fit_reason
from MedPerSAMLib.mrml.learning_state import LearningState, best_dice, profile_line
from MedPerSAMLib.mrml.medpersam_logic import MedPerSAMLogic
from MedPerSAMLib.mrml.panel_state import APPLYING, BUSY, FITTING, LOADING, RUNNING
from MedPerSAMLib.mrml.run_controller import RunController, Work
from MedPerSAMLib.mrml.segment_reader import segment_ids
from MedPerSAMLib.mrml.targets import NEW_SEGMENTATION
from MedPerSAMLib.mrml.training_list import TrainingList
from MedPerSAMLib.services.learning.profile import SUFFIX, Profile
from MedPerSAMLib.services.preload import quiet_imports


class LearningHost(Host, Protocol):
    """The presenter of the whole panel, as far as this section needs it."""

    def cancel(self) -> None:
        """Stop what runs."""

    def start_run(self, run: AppliedRun) -> None:
        """Start a run whose result is looked at, corrected and decided on like a propagation's."""

    def target_of_apply(self) -> tuple[str, dict[str, str]]:
        """Where an application goes, as ``start_apply`` is told: target and places."""

    def inputs_changed(self) -> None:
        """Look at everything again and show it."""


class LearningPresenter:
    """The section without its widgets.

    Args:
        scene: the MRML scene.
        logic: fits and applies.
        work: carries the background work.
        host: the presenter of the whole panel.
    """

    def __init__(self, scene: slicer.vtkMRMLScene, logic: MedPerSAMLogic, work: RunController, host: LearningHost) -> None:
        self.state = LearningState()
        self.profile: Profile | None = None
        self.cases = TrainingList(scene)
        self.points = AppliedPoints(scene)
        self._scene, self._logic, self._work, self._host = scene, logic, work, host
        self._so_far: Profile | None = None
        self._saved_as = ""
        self._applied_to = ""
        self._was_applying = False

    # What the user presses

    def add_case(self) -> None:
        """Put the volume and the segmentation chosen at the top into the list."""
        parameters = self._host.parameters
        if self._busy() or parameters is None:
            return
        try:
            self.cases.add(parameters.volume, parameters.segmentation)
        except Exception as error:  # noqa: BLE001 - whatever it was, the user must hear of it
            self._say(self._host.explain(error, "The case could not be added"))
            return
        self._say(f"{parameters.volume.GetName()} is in the list; add further cases, or press Fit.")

    def remove_case(self, row: int) -> None:
        """Take the case of a row out of the list; its nodes stay."""
        pairs = self.cases.pairs()
        if not self._busy() and 0 <= row < len(pairs):
            self.cases.remove(pairs[row].segmentation)
            self._say(f"{pairs[row].volume.GetName()} is out of the list.")

    def press_fit(self) -> None:
        """Fit, or Cancel while a fit runs; a cancelled fit keeps the best profile so far."""
        if self._busy():
            self._cancel(FITTING)
            return
        parameters = self._host.parameters
        if parameters is None:
            return
        try:
            self._host.install()
            plan = self._logic.plan_fit(
                self.cases.pairs(), parameters.learner, parameters.model or None, parameters.device
            )
        except Exception as error:  # noqa: BLE001 - whatever it was, the panel must be usable again
            self._fail(self._host.explain(error, "The fit could not be started"))
            return
        self._so_far = None
        names = ", ".join(label.name for label in plan.labels)
        self._host.tell(f"Fitting {parameters.learner} for {names} on {len(plan.training)} cases.")
        self._work.start_work(
            Work(
                "Fitting",
                lambda progress: plan.run(progress, progress.so_far),
                self._fit_ended,
                self._fitted,
                self._checked,
                FITTING,
            )
        )

    def press_apply(self) -> None:
        """Segment the chosen volume with the profile, or Cancel while that runs."""
        if self._busy():
            self._cancel(APPLYING)
        else:
            self._apply(again=False)

    def apply_again(self) -> None:
        """Ask SAM again on the slices whose points the user moved."""
        if not self._busy() and not again_reason(self._host.parameters, self.points):
            self._apply(again=True)

    def save(self, path: str) -> None:
        """Write the profile into a file; its suffix is added where it is missing."""
        if self.profile is None or self._busy() or not path.strip():
            return
        file = Path(path.strip())
        file = file if file.suffix == SUFFIX else file.with_name(file.name + SUFFIX)
        try:
            self.profile.save(file)
        except Exception as error:  # noqa: BLE001 - whatever it was, the user must hear of it
            self._say(self._host.explain(error, "The profile could not be saved"))
            return
        self._saved_as = file.name
        self._say(f"The profile is saved as {file}.")

    def load(self, path: str) -> None:
        """Read a profile from a file, in the background: its tensors need torch, whose import takes seconds."""
        if self._busy() or not path.strip():
            return
        try:
            self._host.install()
        except Exception as error:  # noqa: BLE001 - whatever it was, the panel must be usable again
            self._fail(self._host.explain(error, "The profile could not be loaded"))
            return

        def loaded(profile: Profile) -> str:
            self._use(profile, Path(path).name)
            return f"The profile {Path(path).name} is loaded; choose a volume and press Apply."

        def read(_progress) -> Profile:
            with quiet_imports(trains=False):
                return Profile.load(path.strip())

        self._work.start_work(Work("Loading the profile", read, self._say_at_end, loaded))

    def chart(self) -> slicer.vtkMRMLPlotChartNode | None:
        """The training curve of the profile; None where there is none."""
        return CurveNodes(self._scene).chart() if self.state.has_curve else None

    # What happens meanwhile

    def applied(self, run: AppliedRun) -> None:
        """A profile was applied to the end: show its points."""
        self.points.show(run, again=bool(self._applied_to) and self._applied_to == run.volume.GetID())
        self._applied_to, self._was_applying = run.volume.GetID(), False
        self.state.status = (
            f"Applied to {run.volume.GetName()}. Look at the least certain slices under Results, correct and accept; then "
            "the case can be added to the list."
        )

    def decided(self) -> None:
        """The result was accepted or discarded: its points have had their use."""
        self.points.remove()

    def forget(self) -> None:
        """The scene closes: let its nodes go; the profile is no part of the scene and stays."""
        if self._so_far is not None:
            self.profile, self._saved_as, self._so_far = self._so_far, "", None
        self.points.forget()
        self.state.status = ""

    def refresh(self) -> None:
        """Bring the state up to date; called before the panel is shown again."""
        state, host = self.state, self._host.state
        busy, stoppable = self._busy(), host.phase in (LOADING, RUNNING)
        pairs = [] if self._host.parameters is None else self.cases.pairs()
        state.cases = tuple(f"{pair.volume.GetName()}  +  {pair.segmentation.GetName()}" for pair in pairs)
        fitting, applying = busy and host.activity == FITTING, busy and host.activity == APPLYING
        state.busy_reason = f"A {host.activity} is running; wait for its end, or cancel it." if busy else ""
        state.fit_button, state.apply_button = "Cancel" if fitting else "Fit", "Cancel" if applying else "Apply"
        parameters, models = self._host.parameters, self._host.models
        ending = "" if stoppable else CANCELLING_REASON
        free_to_apply = state.busy_reason or apply_reason(parameters, self.profile, models)
        state.fit_reason = ending if fitting else state.busy_reason or fit_reason(parameters, len(pairs), models)
        state.apply_reason = ending if applying else free_to_apply
        state.again_reason = free_to_apply or again_reason(parameters, self.points)
        state.progress = host.progress if fitting or applying else 0.0
        if fitting or applying or self._was_applying:
            state.status = host.status
        self._was_applying = applying
        state.profile = profile_line(self.profile, self._saved_as)
        state.has_profile = self.profile is not None
        shown = self._so_far or self.profile
        state.has_curve = shown is not None and bool(shown.fitted.curve)

    def _apply(self, again: bool) -> None:
        parameters = self._host.parameters
        if parameters is None:
            return
        try:
            moved = self.points.moved() if again else {}
            if again and not moved:
                self._say("No point was moved; drag one in a slice view first.")
                return
            self._host.install()
            target, places = self._host.target_of_apply()
            run = self._logic.start_apply(
                self.profile,
                parameters.volume,
                parameters.segmentation,
                target,
                parameters.device,
                self._host.editor(),
                moved,
                places,
            )
        except Exception as error:  # noqa: BLE001 - whatever it was, the panel must be usable again
            self._fail(self._host.explain(error, "The profile could not be applied"))
            return
        if not again:
            self._applied_to = ""
        unknown = "" if target == NEW_SEGMENTATION else self._unknown(parameters, places.values())
        self._host.tell(f"Applying the profile to {parameters.volume.GetName()}.{unknown}")
        self._host.start_run(run)

    def _unknown(self, parameters: Parameters, written: Collection[str]) -> str:
        """A sentence about segments that the profile does not know, but for the IDs ``written``; they are not written to."""
        if parameters.segmentation is None:
            return ""
        known = {label.name for label in self.profile.labels}
        content = parameters.segmentation.GetSegmentation()
        left = [segment_id for segment_id in segment_ids(parameters.segmentation) if segment_id not in written]
        names = [content.GetSegment(segment_id).GetName() for segment_id in left]
        others = [name for name in names if name not in known]
        return f" Not in the profile, and left as they are: {', '.join(others)}." if others else ""

    def _checked(self, profile: Profile) -> None:
        self._so_far = profile
        CurveNodes(self._scene).show(profile.fitted.curve)

    def _fitted(self, profile: Profile) -> str:
        self._so_far = profile
        return ""

    def _fit_ended(self, sentence: str) -> None:
        best, self._so_far = self._so_far, None
        if best is None:
            self._say(sentence, show=False)
            return
        self._use(best, "")
        dice = f"validation Dice {best_dice(best):.2f} after {best.fitted.steps} steps"
        if best.fitted.finished:
            self._say(f"The fit is finished: {dice}. Save the profile, or choose a volume and press Apply.", show=False)
        elif sentence in ("", "Cancelled."):
            self._say(f"Cancelled; the best profile so far is kept: {dice}.", show=False)
        else:
            self._say(f"{sentence} The best profile so far is kept: {dice}.", show=False)

    def _use(self, profile: Profile, saved_as: str) -> None:
        self.profile, self._saved_as = profile, saved_as
        if profile.fitted.curve:
            CurveNodes(self._scene).show(profile.fitted.curve)

    def _cancel(self, activity: str) -> None:
        if self._host.state.activity == activity:
            self._host.cancel()

    def _busy(self) -> bool:
        return self._host.state.phase in BUSY

    def _fail(self, sentence: str) -> None:
        self.state.status = sentence
        self._work.fail(sentence)

    def _say_at_end(self, sentence: str) -> None:
        self._say(sentence, show=False)

    def _say(self, sentence: str, show: bool = True) -> None:
        self.state.status = sentence
        self._host.tell(sentence)
        if show:
            self._host.inputs_changed()
