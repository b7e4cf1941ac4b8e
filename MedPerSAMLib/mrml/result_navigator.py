"""From one uncertain slice to the next, over all structures of a run."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import slicer

from MedPerSAMLib.core.task import Propagation
from MedPerSAMLib.mrml.confidence_nodes import ConfidenceNodes, uncertain_slices
from MedPerSAMLib.mrml.propagation_run import PropagationRun, Structure
from MedPerSAMLib.mrml.targets import Target
from MedPerSAMLib.mrml.views import go_to_slice


@dataclass(frozen=True)
class Stop:
    """One slice to look at.

    Attributes:
        key: of the structure.
        index: of the slice.
        confidence: 0..1.
    """

    key: str
    index: int
    confidence: float


class ResultNavigator:
    """The slices of a finished run, the least certain first.

    Args:
        scene: whose slice views jump.
        run: the finished run.
        results: structure's key -> its Propagation.
    """

    def __init__(self, scene: slicer.vtkMRMLScene, run: PropagationRun, results: Mapping[str, Propagation]) -> None:
        self._scene, self._run, self.results = scene, run, dict(results)
        stops = [
            Stop(key, index, float(result.confidence[index]))
            for key, result in results.items()
            for index in uncertain_slices(result, frozenset(run.structures[key].annotation.masks))
            if index in run.structures[key].wanted
        ]
        self.stops = sorted(stops, key=lambda stop: (stop.confidence, stop.key, stop.index))
        self._at: int | None = None

    @property
    def position(self) -> str:
        """What is shown: "Liver, slice 12: confidence 0.41 (1 of 35)"."""
        if self._at is None or not self.stops:
            return ""
        stop = self.stops[self._at]
        name = self._run.structures[stop.key].name
        return f"{name}, slice {stop.index}: confidence {stop.confidence:.2f} ({self._at + 1} of {len(self.stops)})"

    @property
    def structure(self) -> Structure:
        """The one of the slice that is shown; before any is shown, the first."""
        return self._run.structures[next(iter(self.results)) if self._at is None else self.stops[self._at].key]

    def chart(self) -> slicer.vtkMRMLPlotChartNode | None:
        """The confidence of all its structures; None once its segmentation is gone."""
        segmentation = self.structure.preview.target.segmentation
        return None if segmentation.GetScene() is None else ConfidenceNodes(segmentation).chart()

    def table(self) -> slicer.vtkMRMLTableNode | None:
        """The confidence of that structure; None once it is gone."""
        target = self.structure.preview.target
        if target.segmentation.GetScene() is None:
            return None
        return ConfidenceNodes(target.segmentation).table(target.segment_id)

    def without(self, targets: Collection[Target]) -> ResultNavigator | None:
        """The same without the structures that lie in the segments of ``targets``; None where none is left."""
        gone = {(target.segmentation, target.segment_id) for target in targets}
        left = {}
        for key, result in self.results.items():
            target = self._run.structures[key].preview.target
            if (target.segmentation, target.segment_id) not in gone:
                left[key] = result
        if len(left) == len(self.results):
            return self
        return ResultNavigator(self._scene, self._run, left) if left else None

    def summary(self) -> str:
        """One sentence on the whole result."""
        parts = []
        for key, result in self.results.items():
            used = np.flatnonzero(result.present)
            name = self._run.structures[key].name
            if not len(used):
                drawn = self._run.structures[key].annotation.masks
                parts.append(f"{name}: found on no {'other ' if drawn else ''}slice")
                continue
            mine = [stop for stop in self.stops if stop.key == key]
            worst = f"; least certain: slice {mine[0].index} ({mine[0].confidence:.2f})" if mine else ""
            parts.append(f"{name}: on slices {used[0]}-{used[-1]}{worst}")
        return ". ".join(parts) + "."

    def worst(self) -> None:
        """Go to the least certain slice."""
        self._go(0)

    def next(self) -> None:
        """Go to the next more certain slice."""
        self._go(0 if self._at is None else min(self._at + 1, len(self.stops) - 1))

    def previous(self) -> None:
        """Go back to the next less certain slice."""
        self._go(0 if self._at is None else max(self._at - 1, 0))

    def _go(self, at: int) -> None:
        if not self.stops or self._run.volume.GetScene() is None:
            return
        self._at = at
        stop = self.stops[at]
        axis = self._run.structures[stop.key].annotation.axis
        go_to_slice(self._scene, self._run.volume, axis, stop.index, self.results[stop.key].mask[stop.index])
