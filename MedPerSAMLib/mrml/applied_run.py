"""One application of a profile, as the scene sees it. Nothing in the scene changes before its first slice is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import slicer

from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.core.task import Propagation, Volume
from MedPerSAMLib.errors import Cancelled
from MedPerSAMLib.mrml.geometry import spacing_across, spacing_of
from MedPerSAMLib.mrml.propagation_run import PropagationRun, Structure
from MedPerSAMLib.mrml.undo_step import UndoStep
from MedPerSAMLib.mrml.volume_reader import slices_first, voxels
from MedPerSAMLib.services.learning.apply_memory import ApplyMemory
from MedPerSAMLib.services.learning.profile import Profile
from MedPerSAMLib.services.learning.work import ApplyOrder, apply_profile

if TYPE_CHECKING:
    from MedPerSAMLib.core.learn.apply import SlicePoints

Points = Mapping[tuple[int, int], "SlicePoints"]
"""(class 1..C, slice) -> point prompts on it."""


class AppliedRun(PropagationRun):
    """Writes slices as they come; its structures are keyed by the names of the profile's labels.

    Args:
        run_id: distinguishes this run from all others.
        volume: the volume node.
        axis: its array axis of the profile's slices.
        profile: what is applied.
        begin: saves an undo step, finds or makes the segments, and gives the structures with the segmentations whose
            surface it dropped, and the undo step; called once, before the first slice is written.
        device: auto, cpu, cuda or mps.
        moved: points that the user moved.
        memory: of earlier applications, if there is one.

    Attributes:
        points: the points that SAM was prompted with; there once :meth:`compute` has returned.
    """

    def __init__(
        self,
        run_id: str,
        volume: slicer.vtkMRMLScalarVolumeNode,
        axis: int,
        profile: Profile,
        begin: Callable[[], tuple[dict[str, Structure], list[slicer.vtkMRMLSegmentationNode], UndoStep | None]],
        device: str = "auto",
        moved: Points | None = None,
        memory: ApplyMemory | None = None,
    ) -> None:
        super().__init__(run_id, volume, {}, [], [])
        self._memory = memory
        self.profile, self.axis, self.points = profile, axis, {}
        self._begin, self._device, self._moved = begin, device, dict(moved or {})
        self._array, self._spacing = slices_first(voxels(volume), self.axis), spacing_of(volume)

    def compute(self, listener: Progress) -> dict[str, Propagation]:
        """The numbers; any thread. Slices go to ``listener.structure_slice(key, index, mask, confidence)``.

        Raises:
            Cancelled: the listener asked for it.
            MedPerSAMError: the volume or the model does not fit.
        """
        listener.step("reading volume", 0, 1)
        names = [label.name for label in self.profile.labels]
        spacing = spacing_across(self._spacing, self.axis)
        volume = Volume(np.ascontiguousarray(self._array, np.float32), spacing)

        def on_slice(number: int, index: int, mask: np.ndarray, confidence: float) -> None:
            listener.structure_slice(names[number - 1], index, np.array(mask, bool), float(confidence))

        order = ApplyOrder(self.profile, volume, self._device, moved=self._moved)
        applied = apply_profile(order, listener, on_slice, self._memory)
        self.points = dict(applied.points)
        results = {name: applied.results[number] for number, name in enumerate(names, start=1)}
        for sentence in dict.fromkeys(note for result in results.values() for note in result.notes):
            listener.note(sentence)
        return results

    def write(self, key: str, index: int, mask: np.ndarray) -> bool:
        """Show one finished slice; False if it is the user's. Raises as PropagationRun.write."""
        self._begun()
        return super().write(key, index, mask)

    def settle(self, results: Mapping[str, Propagation]) -> dict[str, Propagation]:
        """The results with the slices that the user drew, which stay as they are and are certain."""
        self._begun()
        return {key: _with_drawn(result, self.structures[key].annotation.masks) for key, result in results.items()}

    def finish(self, results: Mapping[str, Propagation]) -> Iterator[int]:
        """Bring the segments to the final result; see PropagationRun.finish."""
        self._begun()
        return super().finish(results)

    def _begun(self) -> None:
        if self.volume.GetScene() is None:
            raise Cancelled("The volume was closed, so the work was stopped.")
        if self._begin is not None:
            begin, self._begin = self._begin, None
            self.structures, self._surfaces, self._step = begin()
            if self._step is not None:
                self._step.begin()


def _with_drawn(result: Propagation, drawn: Mapping[int, np.ndarray]) -> Propagation:
    if not drawn:
        return result
    mask, confidence, present = result.mask.copy(), result.confidence.copy(), result.present.copy()
    for index, outline in drawn.items():
        mask[index], confidence[index], present[index] = outline, 1, True
    return replace(result, mask=mask, confidence=confidence, present=present)
