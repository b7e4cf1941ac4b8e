"""Where corrections of the last result go on, and what was chosen before it.

A result may go into other segments than those that were chosen. Then these are chosen, so that corrections go on there;
the user's choice of a target is left alone, because the next drawing is to be spared as well.
"""

from __future__ import annotations

from MedPerSAMLib.mrml.applied_run import AppliedRun
from MedPerSAMLib.mrml.choices import Parameters
from MedPerSAMLib.mrml.propagation_run import PropagationRun
from MedPerSAMLib.mrml.targets import SAME_SEGMENT, Target


class Continuation:
    """The last result that went into other segments than those chosen; nothing until there is one."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Let it go, as when the scene closes."""
        self._volume, self._wish = None, ""
        self._applied: dict[str, str] = {}
        """Of an application: structure's name -> ID of its segment."""
        self._targets: list[Target] = []
        self._before: tuple = (None, [])
        self._began_with: tuple = (None, None, [])

    def begin(self, parameters: Parameters) -> None:
        """A run begins with what is chosen now."""
        self._began_with = parameters.volume, parameters.segmentation, list(parameters.segmentIDs)

    def follow(self, parameters: Parameters, run: PropagationRun) -> bool:
        """Choose the segments that a run wrote; False where they are chosen already, or where the user has turned to
        another volume or segmentation meanwhile."""
        targets = [structure.preview.target for structure in run.structures.values()]
        volume, *before = self._began_with
        # Slicer's own lists may choose a new segmentation by themselves.
        if parameters.volume is not volume or parameters.segmentation not in (before[0], targets[0].segmentation):
            return False
        places = {(target.segmentation, target.segment_id) for target in targets}
        if places <= {(parameters.segmentation, segment_id) for segment_id in parameters.segmentIDs}:
            return False
        if places != {(target.segmentation, target.segment_id) for target in self._targets}:
            self._before = tuple(before)
        self._volume, self._wish, self._targets = run.volume, parameters.target, targets
        written = {name: structure.preview.target.segment_id for name, structure in run.structures.items()}
        self._applied = written if isinstance(run, AppliedRun) else {}
        parameters.segmentation = targets[0].segmentation
        parameters.segmentIDs = [target.segment_id for target in targets]
        return True

    def target(self, parameters: Parameters) -> str:
        """Where a propagation goes: into the result while only its segments are checked, else as chosen."""
        checked = bool(parameters.segmentIDs) and self.worked_on(parameters)
        return SAME_SEGMENT if checked and self._holds(parameters) else parameters.target

    def target_of_apply(self, parameters: Parameters, pending: bool) -> tuple[str, dict[str, str]]:
        """Where an application goes: into that of the same volume while it is not decided on, with the segments that its
        structures went into, else as chosen."""
        goes_on = bool(self._applied) and pending and self._holds(parameters)
        return (SAME_SEGMENT, dict(self._applied)) if goes_on else (parameters.target, {})

    def worked_on(self, parameters: Parameters) -> bool:
        """Whether nothing but the result is chosen; a segmentation that was deleted is chosen no more."""
        written = {target.segment_id for target in self._targets}
        return parameters.segmentation in (None, self._segmentation) and set(parameters.segmentIDs) <= written

    def restore_if_gone(self, parameters: Parameters, worked_on: bool) -> None:
        """Choose what was chosen before, once all of the result that was worked on is discarded, undone or deleted."""
        if self._targets and worked_on and not any(target.exists for target in self._targets):
            self._restore(parameters)

    def restore_for_another_volume(self, parameters: Parameters) -> str:
        """A segmentation that an application made out of nothing is no choice for another volume; its name if one
        was chosen."""
        made, other = self._segmentation, parameters.volume not in (None, self._volume)
        if made is None or not other or parameters.segmentation is not made or self._before[0] is not None:
            return ""
        self._restore(parameters)
        return made.GetName()

    @property
    def _segmentation(self):
        return self._targets[0].segmentation if self._targets else None

    def _holds(self, parameters: Parameters) -> bool:
        """Whether volume, segmentation and target are those of the result still."""
        chosen = parameters.volume, parameters.segmentation, parameters.target
        return bool(self._targets) and chosen == (self._volume, self._segmentation, self._wish)

    def _restore(self, parameters: Parameters) -> None:
        segmentation, segment_ids = self._before
        self.forget()  # first, because a parameter node answers each choice with a look at all of them
        there = segmentation is not None and segmentation.GetScene() is not None
        parameters.segmentation = segmentation if there else None
        parameters.segmentIDs = segment_ids if there else []
