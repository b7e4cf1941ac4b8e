"""Propagation on Slicer's nodes without a window; the module's logic and the effect call this."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import slicer

from MedPerSAMLib.core.progress import Progress, Relay
from MedPerSAMLib.core.task import Propagation, Reference
from MedPerSAMLib.errors import InputError, MedPerSAMError
from MedPerSAMLib.mrml.annotated_slices import Annotation, find_annotation
from MedPerSAMLib.mrml.confidence_nodes import ConfidenceNodes
from MedPerSAMLib.mrml.dependencies import missing_packages_named
from MedPerSAMLib.mrml.editing_rules import EditingRules, check_mask, overlap_allowed
from MedPerSAMLib.mrml.geometry import spacing_across, spacing_of
from MedPerSAMLib.mrml.preview import Preview
from MedPerSAMLib.mrml.propagation_run import PropagationRun, Structure
from MedPerSAMLib.mrml.segment_reader import segment_of
from MedPerSAMLib.mrml.signal import Signal
from MedPerSAMLib.mrml.surfaces import hide_surface, show_surfaces
from MedPerSAMLib.mrml.targets import NEW_SEGMENTATION, SAME_SEGMENT, Target, make_targets
from MedPerSAMLib.mrml.undo import LogicUndo, UndoHistory
from MedPerSAMLib.mrml.undo_step import UndoStep
from MedPerSAMLib.mrml.volume_reader import slices_first, voxels
from MedPerSAMLib.services.propagation_work import Order, SessionCache, propagate

DEFAULT_METHOD = "med-persam"


class PropagationLogic:
    """Starts, carries out, accepts and discards propagations.

    ``accepted`` is emitted with the names of segments whose result was kept because a run on others, or on slices of
    another grid, began.

    Args:
        sessions: keeps embeddings between runs; its own unless given.
        undo: where undo steps are saved; its own history unless given.

    Attributes:
        step: the undo step of the last run; None where there is none.
    """

    def __init__(self, sessions: SessionCache | None = None, undo: UndoHistory | None = None) -> None:
        self.accepted = Signal()
        self.sessions = SessionCache() if sessions is None else sessions
        self.undo: UndoHistory = LogicUndo() if undo is None else undo
        self.step: UndoStep | None = None
        self._previews: dict[tuple[str, str], Preview] = {}
        self._undone: list[Target] = []
        self._numbers = itertools.count(1)

    def start(
        self,
        volume: slicer.vtkMRMLScalarVolumeNode,
        segmentation: slicer.vtkMRMLSegmentationNode,
        segment_ids: Sequence[str],
        method: str = DEFAULT_METHOD,
        model: str | None = None,
        device: str = "auto",
        wanted: range | None = None,
        target: str = SAME_SEGMENT,
        editor: slicer.vtkMRMLSegmentEditorNode | None = None,
        view_axis: int | None = None,
        seed: int = 0,
    ) -> PropagationRun:
        """Read the annotations, save an undo step and make everything ready to be written.

        Args:
            volume: the grey volume.
            segmentation: holds the annotated segments.
            segment_ids: the segments to propagate, each with its own annotated slices.
            method: name in ``core.methods.METHODS``.
            model: name or path; None for the embedded one.
            device: auto, cpu, cuda or mps.
            wanted: slices that may change; all unless given.
            target: one of ``targets.TARGETS``.
            editor: Segment Editor's node, whose mask and overwrite mode bound the writing; None for its defaults.
            view_axis: array axis that the slice view looks along, for annotations that fit several.
            seed: of everything random.

        Raises:
            InputError: a node, segment, annotation or transform that cannot be worked on; the scene is as before.
        """
        array = voxels(volume)
        if segmentation is None or not segment_ids:
            raise InputError("No segment is chosen; choose one that is outlined on a slice.")
        annotations = {i: find_annotation(segmentation, i, volume, view_axis) for i in segment_ids}
        names = {i: segment_of(segmentation, i).GetName() for i in segment_ids}
        references = {i: Reference(a.masks, names[i]) for i, a in annotations.items()}
        self._check_range(wanted, annotations)
        check_mask(editor, segmentation)
        surfaces, self.step = [], None
        if target != NEW_SEGMENTATION:
            self.step = UndoStep(self.undo, segmentation, volume)
            if hide_surface(segmentation):  # before anything is written, or each slice would make it anew
                surfaces.append(segmentation)
        try:
            targets = make_targets(target, segmentation, annotations, volume)
        except MedPerSAMError:
            show_surfaces(surfaces)
            raise
        self._keep_only({(t.segmentation.GetID(), t.segment_id) for t in targets.values()})
        run_id, structures = f"run {next(self._numbers)}", {}
        for key, annotation in annotations.items():
            place = targets[key]
            rules = EditingRules(segmentation, key, place, volume, annotation.axis, editor)
            preview = self._preview(place, volume, annotation, rules)
            preview.begin(run_id, annotation, annotation.open_range(wanted), rules)
            allowed = annotation.open_range(wanted)
            narrow = (
                allowed
                if wanted is None
                else range(max(min(wanted), allowed.start), min(max(wanted) + 1, allowed.stop))
            )
            structures[key] = Structure(names[key], annotation, narrow, preview)
        settings = method, model, device, seed, overlap_allowed(editor)
        orders = _orders(array, spacing_of(volume), annotations, references, wanted, settings)
        return PropagationRun(run_id, volume, structures, orders, surfaces, self.step)

    def compute(self, run: PropagationRun, listener) -> dict[str, Propagation]:
        """The numbers of a run; any thread. See ``propagation_work.propagate``."""
        results, count = {}, sum(len(order.references) for order in run.orders)
        for order in run.orders:
            results.update(propagate(order, self.sessions, listener, len(results), count))
        return results

    def process(
        self,
        volume: slicer.vtkMRMLScalarVolumeNode,
        segmentation: slicer.vtkMRMLSegmentationNode,
        segment_ids: Sequence[str],
        progress: Progress | None = None,
        **options,
    ) -> dict[str, Propagation]:
        """Propagate from start to end on this thread.

        Args:
            volume: the grey volume.
            segmentation: holds the annotated segments and receives the result.
            segment_ids: the segments to propagate.
            progress: told about steps and notes, and asked whether to stop; slices are written as they finish.
            options: those of :meth:`start`.

        Returns:
            segment ID -> its Propagation, (slices, rows, columns) along the annotated axis.

        Raises:
            MedPerSAMError: something cannot be worked on, or was cancelled; the segments are as before.
        """
        run = self.start(volume, segmentation, segment_ids, **options)
        done = False
        try:
            with missing_packages_named():
                results = self.compute(run, Direct(run, Progress() if progress is None else progress))
            for _ in run.finish(results):
                pass
            done = True
        finally:
            if not done:
                run.cancel()
        return results

    def accept(self) -> None:
        """Keep what was propagated."""
        for preview in self._previews.values():
            preview.accept()
        self._previews.clear()

    def discard(self) -> int:
        """Take back all that was propagated since the last Accept; returns how many slices the user drew on and
        stay."""
        self.drop_undone()
        kept = 0
        nodes = dict.fromkeys(preview.target.segmentation for preview in self._previews.values())
        surfaces = [segmentation for segmentation in nodes if hide_surface(segmentation)]
        for preview in self._previews.values():
            target = preview.target
            kept_here = preview.discard()
            _remove_confidence(target)
            if not kept_here:
                target.remove()
            kept += kept_here
        self._previews.clear()
        show_surfaces(surfaces)
        return kept

    def undo_last(self) -> bool:
        """Take the last run back, also after it was accepted; False where its undo step cannot be reached."""
        if self.step is None or not self.step.undo():
            return False
        self._undone += self.step.targets
        return True

    def redo_last(self) -> bool:
        """Bring back what :meth:`undo_last` took; False where that cannot be reached."""
        return self.step is not None and self.step.redo()

    def drop_undone(self) -> list[Target]:
        """Let go what Undo or a removed segment has taken back, with its table and plot; returns where that was."""
        accepted, self._undone = self._undone, []
        for target in accepted:
            _remove_confidence(target)
        undone = {key: p for key, p in self._previews.items() if p.written and not p.is_ours}
        for key, preview in undone.items():
            _remove_confidence(preview.target)
            if not preview.follow_undo():
                del self._previews[key]
        return [*accepted, *(preview.target for preview in undone.values())]

    @property
    def pending(self) -> bool:
        """Whether there is something to accept or discard."""
        return any(preview.written for preview in self._previews.values())

    def forget(self) -> None:
        """Drop every reference to nodes, as when the scene closes; embeddings go too."""
        self._previews.clear()
        self.step, self._undone = None, []
        self.sessions.clear()
        self.undo.clear()

    def _keep_only(self, keys: set[tuple[str, str]]) -> None:
        """Accept what other segments got: a Discard of this run must not take back an organ that was finished
        before."""
        others = [p.name for key, p in self._previews.items() if key not in keys and p.written and p.is_ours]
        self._previews = {key: p for key, p in self._previews.items() if key in keys and p.written}
        if others:
            self.accepted.emit(others)

    def _preview(self, target, volume, annotation: Annotation, rules: EditingRules) -> Preview:
        key = (target.segmentation.GetID(), target.segment_id)
        kept = self._previews.get(key)
        if kept is not None and kept.fits(volume, annotation.axis):
            kept.volume = volume
            return kept
        if kept is not None and kept.written and kept.is_ours:
            self.accepted.emit([kept.name])  # slices of another grid or axis cannot be taken back along with these
        self._previews[key] = Preview(target, volume, annotation, rules)
        return self._previews[key]

    @staticmethod
    def _check_range(wanted: range | None, annotations: dict[str, Annotation]) -> None:
        for annotation in annotations.values():
            if wanted is not None and (not len(wanted) or min(wanted) < 0 or max(wanted) >= annotation.count):
                raise InputError(
                    f"The range {wanted.start}-{wanted.stop - 1} does not lie in the volume's slices "
                    f"0-{annotation.count - 1}."
                )


def _remove_confidence(target: Target) -> None:
    if target.segmentation.GetScene() is not None:
        ConfidenceNodes(target.segmentation).remove([target.segment_id])


def _orders(array, spacing, annotations, references, wanted, settings) -> list[Order]:
    """One order per axis: the slices of another axis are other images with embeddings of their own."""
    orders = []
    for axis in dict.fromkeys(annotation.axis for annotation in annotations.values()):
        keys = [key for key, annotation in annotations.items() if annotation.axis == axis]
        slices = {key: annotations[key].open_range(wanted) for key in keys}
        own = {key: references[key] for key in keys}
        orders.append(Order(slices_first(array, axis), spacing_across(spacing, axis), own, slices, *settings))
    return orders


class Direct(Relay):
    """Writes slices as they finish, on the thread that computes them.

    Args:
        run: writes them.
        listener: told everything, and asked whether to stop.
    """

    def __init__(self, run: PropagationRun, listener: Progress) -> None:
        super().__init__(listener)
        self._run = run

    def structure_slice(self, key: str, index: int, mask, confidence: float) -> None:
        if self._run.write(key, index, mask):
            self._listener.slice_done(index, mask, confidence)
