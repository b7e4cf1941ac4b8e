"""One run of one or several structures, as the scene sees it: what to compute, and where each finished slice goes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import slicer

from MedPerSAMLib.core.task import Propagation
from MedPerSAMLib.errors import Cancelled
from MedPerSAMLib.mrml.annotated_slices import Annotation
from MedPerSAMLib.mrml.confidence_nodes import ConfidenceNodes
from MedPerSAMLib.mrml.preview import Preview
from MedPerSAMLib.mrml.surfaces import show_surfaces
from MedPerSAMLib.mrml.undo_step import UndoStep
from MedPerSAMLib.services.propagation_work import Order


@dataclass(frozen=True)
class Structure:
    """One structure of a run.

    Attributes:
        name: of its segment.
        annotation: what the user drew.
        wanted: slices that may be written.
        preview: writes them.
    """

    name: str
    annotation: Annotation
    wanted: range
    preview: Preview


class PropagationRun:
    """Writes slices as they come, and ends in :meth:`finish` or :meth:`cancel`; main thread only.

    Args:
        run_id: distinguishes this run from all others.
        volume: the volume node.
        structures: segment ID of the source -> structure.
        orders: what to compute; one per axis, because slices of different axes are different images.
        surfaces: segmentations whose closed surface was dropped for the run and is made again at its end.
        step: the undo step that was saved before it; None where it goes into a new segmentation.
    """

    def __init__(
        self,
        run_id: str,
        volume: slicer.vtkMRMLScalarVolumeNode,
        structures: Mapping[str, Structure],
        orders: list[Order],
        surfaces: list[slicer.vtkMRMLSegmentationNode],
        step: UndoStep | None = None,
    ) -> None:
        self.run_id, self.volume, self.structures, self.orders = run_id, volume, dict(structures), orders
        self._surfaces, self._step = surfaces, step
        if step is not None:
            step.begin()

    def write(self, key: str, index: int, mask: np.ndarray) -> bool:
        """Show one finished slice; False if it is the user's or not wanted.

        Raises:
            Cancelled: volume or segmentation are gone, or the user undid the run.
        """
        if self.volume.GetScene() is None:
            raise Cancelled("The volume was closed, so the propagation was stopped.")
        structure = self.structures[key]
        if index not in structure.wanted:
            return False
        with self._writing():
            return structure.preview.write(index, mask)

    def settle(self, results: Mapping[str, Propagation]) -> Mapping[str, Propagation]:
        """The results as they will stand in the scene, with what the user drew meanwhile."""
        return results

    def finish(self, results: Mapping[str, Propagation]) -> Iterator[int]:
        """Bring the segments to the final result, slice by slice; yields how many are done, so that a caller may pause.

        Raises:
            Cancelled: as for :meth:`write`.
        """
        done = 0
        for key, result in results.items():
            for index in np.flatnonzero(result.finished):
                self.write(key, int(index), result.mask[index])
                done += 1
                yield done
        # What a structure was refused, another one of this run may have given up since.
        for key, result in results.items() if len(results) > 1 else ():
            refused = self.structures[key].preview.refused
            for index in sorted(refused.intersection(np.flatnonzero(result.finished).tolist())):
                self.write(key, index, result.mask[index])
                yield done
        for key, result in results.items():
            structure = self.structures[key]
            with self._writing():
                structure.preview.finish()
            target = structure.preview.target
            annotated = frozenset(structure.annotation.masks)
            yield done
            ConfidenceNodes(target.segmentation).show(target.segment_id, result, annotated, structure.annotation.plane)
            yield done
        self._show_surfaces()
        self._close_step()

    def cancel(self) -> int:
        """Take the run back; returns how many slices stay because the user drew on them."""
        kept = 0
        for structure in self.structures.values():
            kept_here = structure.preview.cancel()
            if not structure.preview.written and not kept_here:
                structure.preview.target.remove()
            kept += kept_here
        self._show_surfaces()
        return kept

    def keep_finished(self) -> bool:
        """End the run early and keep the slices that are there; False where there are none, and nothing is left."""
        if not any(structure.preview.written for structure in self.structures.values()):
            self.cancel()
            return False
        for structure in self.structures.values():
            with self._writing():
                structure.preview.finish()
        self._show_surfaces()
        self._close_step()
        return True

    def _writing(self) -> contextlib.AbstractContextManager:
        return contextlib.nullcontext() if self._step is None else self._step.writing()

    def _close_step(self) -> None:
        if self._step is not None:
            self._step.close(tuple(structure.preview.target for structure in self.structures.values()))

    def _show_surfaces(self) -> None:
        show_surfaces(self._surfaces)
        self._surfaces = []
