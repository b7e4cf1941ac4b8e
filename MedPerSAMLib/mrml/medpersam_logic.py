"""Fitting and applying on Slicer's nodes without a window; the module's logic is one of these."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import slicer

from MedPerSAMLib.core.learn.learners import DEFAULT_LEARNER, learner
from MedPerSAMLib.core.progress import Progress, Relay
from MedPerSAMLib.core.task import Propagation
from MedPerSAMLib.errors import Cancelled, InputError, MedPerSAMError
from MedPerSAMLib.mrml.annotated_slices import drawn_slices
from MedPerSAMLib.mrml.applied_run import AppliedRun, Points
from MedPerSAMLib.mrml.dependencies import missing_packages_named
from MedPerSAMLib.mrml.editing_rules import EditingRules, check_mask
from MedPerSAMLib.mrml.finished_case import FinishedCase, TrainingPair, check_alike, labels_of, read_case
from MedPerSAMLib.mrml.geometry import axis_of_plane, check_transforms, in_plane_directions
from MedPerSAMLib.mrml.logic import Direct, PropagationLogic
from MedPerSAMLib.mrml.propagation_run import Structure
from MedPerSAMLib.mrml.segment_reader import made_for
from MedPerSAMLib.mrml.surfaces import hide_surface
from MedPerSAMLib.mrml.targets import NEW_SEGMENT, NEW_SEGMENTATION, SAME_SEGMENT, targets_of_labels
from MedPerSAMLib.mrml.training_list import paired_volume
from MedPerSAMLib.mrml.undo import UndoHistory
from MedPerSAMLib.mrml.undo_step import UndoStep
from MedPerSAMLib.mrml.volume_reader import voxels
from MedPerSAMLib.services.learning.apply_memory import ApplyMemory
from MedPerSAMLib.services.learning.finished_cases import AXES
from MedPerSAMLib.services.learning.profile import Label, Profile
from MedPerSAMLib.services.learning.work import FitOrder, fit_profile
from MedPerSAMLib.services.propagation_work import SessionCache


@dataclass(frozen=True)
class FitPlan:
    """A fit whose cases are read from the scene; all that follows may run on any thread.

    Attributes:
        training: finished cases.
        validation: cases by which the training is stopped.
        labels: the structures.
        plane: place of the slices in ``AXES``.
        options: method, model, device, seed and resume of ``FitOrder``.
    """

    training: tuple[FinishedCase, ...]
    validation: tuple[FinishedCase, ...]
    labels: tuple[Label, ...]
    plane: int
    options: Mapping[str, object]

    def run(self, listener: Progress, keep: Callable[[Profile], None] = lambda profile: None) -> Profile:
        """Fit; see ``services.learning.work.fit_profile``."""
        listener.step("reading the cases", 0, 1)
        names = [label.name for label in self.labels]
        training, validation = (
            tuple(case.labelled(names, self.plane) for case in cases) for cases in (self.training, self.validation)
        )
        order = FitOrder(
            training,
            self.labels,
            validation,
            axis=self.plane,
            directions=self.training[0].directions[self.plane],
            **self.options,
        )
        return fit_profile(order, _WithoutChecks(listener), keep)


class _WithoutChecks(Relay):
    """Passes everything on but the steps of the short checks between training steps, which would let the bar jump."""

    def on_step(self, phase: str, done: int, total: int) -> None:
        if phase != "checking":
            self._listener.on_step(phase, done, total)


@dataclass(frozen=True)
class AppliedCase:
    """Where the structures of a profile were written.

    Attributes:
        segmentation: the node, a new one where none was given.
        segment_ids: structure's name -> ID of its segment.
        results: structure's name -> its Propagation, (slices, rows, columns) in the profile's plane.
        points: the points that SAM was prompted with; empty for methods without prompts.
    """

    segmentation: slicer.vtkMRMLSegmentationNode
    segment_ids: Mapping[str, str]
    results: Mapping[str, Propagation]
    points: Points


class MedPerSAMLogic(PropagationLogic):
    """Everything without a window, also where there is no Qt: propagates, learns profiles from finished cases, applies them.

    What an application wrote is accepted, discarded, undone and corrected as what a propagation wrote.
    """

    def __init__(self, sessions: SessionCache | None = None, undo: UndoHistory | None = None) -> None:
        super().__init__(sessions, undo)
        self._applied = ApplyMemory()

    def forget(self) -> None:
        """Drop every reference to nodes, as when the scene closes, and what was computed from their voxels."""
        super().forget()
        self._applied.clear()

    def plan_fit(
        self,
        pairs: Sequence[TrainingPair | tuple],
        method: str = DEFAULT_LEARNER,
        model: str | None = None,
        device: str = "auto",
        seed: int = 0,
        validation: Sequence[TrainingPair | tuple] = (),
        plane: str | None = None,
        resume: Profile | None = None,
    ) -> FitPlan:
        """Read finished cases and check them; changes nothing.

        Args:
            pairs: the cases to learn from: TrainingPairs, or (volume node, segmentation node).
            method: name in ``core.learn.learners.LEARNERS``.
            model: name or path; None for the embedded one.
            device: auto, cpu, cuda or mps.
            seed: of everything random.
            validation: cases by which the training is stopped; slices of ``pairs`` are held out if there are none.
            plane: axial, coronal or sagittal slices; unless given, those that were propagated along, else axial.
            resume: an unfinished profile to go on from.

        Raises:
            InputError: no case, or cases that cannot be read or do not fit together.
        """
        learner(method)
        if not pairs:
            raise InputError("There is no finished case; add a volume with its segmentation to the list first.")
        training, checking = (
            tuple(read_case(pair if isinstance(pair, TrainingPair) else TrainingPair(*pair)) for pair in given)
            for given in (pairs, validation)
        )
        drawn = {case.plane for case in training} - {None}
        number = drawn.pop() if len(drawn) == 1 else 0
        if plane is not None:
            if plane not in AXES:
                raise InputError(f"There is no plane {plane!r}; use one of {', '.join(AXES)}.")
            number = AXES.index(plane)
        check_alike([*training, *checking], number)
        options = {"method": method, "model": model, "device": device, "seed": seed, "resume": resume}
        return FitPlan(training, checking, training[0].labels, number, options)

    def fit(
        self,
        pairs: Sequence[TrainingPair | tuple],
        progress: Progress | None = None,
        keep: Callable[[Profile], None] = lambda profile: None,
        **options,
    ) -> Profile:
        """Learn from finished cases, from start to end on this thread.

        Args:
            pairs: TrainingPairs, or (volume node, segmentation node).
            progress: told about steps and notes, and asked whether to stop.
            keep: called after each check with the best profile so far.
            options: those of :meth:`plan_fit`.

        Returns:
            the profile; the best so far, unfinished, where ``progress`` cancelled after a first check.

        Raises:
            MedPerSAMError: something cannot be worked on, or was cancelled before there was anything to keep.
        """
        with missing_packages_named():
            return self.plan_fit(pairs, **options).run(Progress() if progress is None else progress, keep)

    def start_apply(
        self,
        profile: Profile | None,
        volume: slicer.vtkMRMLScalarVolumeNode | None,
        segmentation: slicer.vtkMRMLSegmentationNode | None = None,
        target: str = SAME_SEGMENT,
        device: str = "auto",
        editor: slicer.vtkMRMLSegmentEditorNode | None = None,
        moved: Points | None = None,
        places: Mapping[str, str] | None = None,
    ) -> AppliedRun:
        """Check everything and make a run ready; changes nothing yet.

        Args:
            profile: what was learned.
            volume: the grey volume.
            segmentation: receives the structures, in segments of their names or in new ones; None for a new one.
            target: one of ``targets.TARGETS``.
            device: auto, cpu, cuda or mps.
            editor: Segment Editor's node, whose mask and overwrite mode bound the writing; None for its defaults.
            moved: points that the user moved.
            places: structure's name -> ID of the segment that it went into before, if that is to be written again.

        Raises:
            InputError: no profile, or a node or transform that cannot be worked on.
        """
        if profile is None:
            raise InputError("There is no profile; fit or load one first.")
        voxels(volume)
        axis = axis_of_plane(volume, AXES[profile.axis])
        here = in_plane_directions(volume, axis)
        if profile.directions and here != profile.directions:
            raise InputError(
                f"Rows and columns of {volume.GetName()} run towards {here}, those of the profile's cases towards "
                f"{profile.directions}; bring it into that direction with the module Orient Scalar Volume."
            )
        if segmentation is not None and target != NEW_SEGMENTATION:
            _check_case(segmentation, volume)
            check_transforms(segmentation, volume)
            check_mask(editor, segmentation)
            if target != NEW_SEGMENT and not places and segmentation.GetSegmentation().GetNumberOfSegments():
                labels_of(segmentation)  # two segments of one name, or no labelmaps
        run_id = f"run {next(self._numbers)}"

        def begin():
            return self._begin(run_id, profile, volume, axis, segmentation, target, editor, places or {})

        return AppliedRun(run_id, volume, axis, profile, begin, device, moved, self._applied)

    def apply(
        self,
        profile: Profile,
        volume: slicer.vtkMRMLScalarVolumeNode,
        segmentation: slicer.vtkMRMLSegmentationNode | None = None,
        progress: Progress | None = None,
        **options,
    ) -> AppliedCase:
        """Segment a volume with a profile, from start to end on this thread.

        Args:
            profile: what was learned.
            volume: the grey volume.
            segmentation: receives the structures; None for a new one.
            progress: told about steps and notes, and asked whether to stop; slices are written as they finish.
            options: those of :meth:`start_apply`.

        Raises:
            MedPerSAMError: something cannot be worked on, or was cancelled; the segments are as before.
        """
        run = self.start_apply(profile, volume, segmentation, **options)
        done = False
        try:
            with missing_packages_named():
                results = run.settle(run.compute(Direct(run, Progress() if progress is None else progress)))
            for _ in run.finish(results):
                pass
            done = True
        finally:
            if not done:
                run.cancel()
        targets = {key: structure.preview.target for key, structure in run.structures.items()}
        into = next(iter(targets.values())).segmentation
        return AppliedCase(into, {key: target.segment_id for key, target in targets.items()}, results, run.points)

    def _begin(self, run_id: str, profile: Profile, volume, axis: int, segmentation, target: str, editor, places):
        """The first change of a run: an undo step, the segments, and what they must not lose."""
        if segmentation is not None and segmentation.GetScene() is None:
            raise Cancelled("The segmentation was removed, so the work was stopped.")
        fresh = segmentation is None or target == NEW_SEGMENTATION
        self.step = None if fresh else UndoStep(self.undo, segmentation, volume)
        targets = targets_of_labels(target, segmentation, profile.labels, volume, places)
        surfaces = [segmentation] if not fresh and hide_surface(segmentation) else []
        self._keep_only({(place.segmentation.GetID(), place.segment_id) for place in targets.values()})
        try:
            structures = self._structures(run_id, targets, volume, axis, segmentation, editor)
        except MedPerSAMError:
            for place in targets.values():
                place.remove()
            raise
        return structures, surfaces, self.step

    def _structures(self, run_id: str, targets, volume, axis: int, segmentation, editor) -> dict[str, Structure]:
        structures = {}
        for name, place in targets.items():
            annotation = drawn_slices(place.segmentation, place.segment_id, volume, axis)
            bounds = place.segmentation if segmentation is None else segmentation
            rules = EditingRules(bounds, place.segment_id, place, volume, axis, editor)
            preview = self._preview(place, volume, annotation, rules)
            slices = range(annotation.count)
            preview.begin(run_id, annotation, slices, rules)
            structures[name] = Structure(name, annotation, slices, preview)
        return structures


def _check_case(segmentation: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Raise InputError if the segmentation is another volume's: an accepted result in it would be written over."""
    for other, words in (
        (paired_volume(segmentation), "is the finished segmentation of"),
        (made_for(segmentation), "was made for"),
    ):
        if other not in (None, volume):
            raise InputError(
                f"{segmentation.GetName()} {words} {other.GetName()}; let the result go into a new segmentation, or choose "
                f"one of {volume.GetName()}."
            )
