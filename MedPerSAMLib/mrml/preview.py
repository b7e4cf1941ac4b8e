"""What a propagation has written into one segment and can take back.

Slices go straight into the target segment, so that the user sees and corrects them with every tool Slicer has. Until
Accept, the preview remembers what each slice was before. The user may draw in the segment meanwhile: a slice that is
not as we left it belongs to the user from then on and is neither overwritten nor taken back.

What we wrote is remembered in the segment at each write, not at the end: Undo of a stroke in the middle of a run takes
back the slices that were written after the stroke began, and the segment then tells which these were.

A segment on a turned grid leaves its layer before the first slice is written (``turned_layer``), and comes back to it
with Cancel and Discard unless the user drew in it meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer
import vtk

from MedPerSAMLib.errors import Cancelled
from MedPerSAMLib.mrml.annotated_slices import Annotation, drawn_slices
from MedPerSAMLib.mrml.editing_rules import EditingRules
from MedPerSAMLib.mrml.geometry import same_grid
from MedPerSAMLib.mrml.segment_reader import read_box, read_slice, stored_labels
from MedPerSAMLib.mrml.segment_slices import SegmentSlices
from MedPerSAMLib.mrml.segment_writer import make_room, trim, write_slice
from MedPerSAMLib.mrml.slice_record import Record, forget
from MedPerSAMLib.mrml.targets import Target
from MedPerSAMLib.mrml.turned_layer import TurnedLayer, is_turned, turns_back

_RUN_TAG = "MedPerSAM.Run"


@dataclass(frozen=True)
class _Origin:
    """What a segment was before it left a turned layer: its layer and its record."""

    layer: TurnedLayer
    record: Record | None


class Preview:
    """The slices of one segment that propagations wrote since the last Accept.

    Args:
        target: the segment that is written.
        volume: gives the grid.
        annotation: what the user drew in it.
        rules: where may be written.
    """

    def __init__(
        self, target: Target, volume: slicer.vtkMRMLScalarVolumeNode, annotation: Annotation, rules: EditingRules
    ) -> None:
        self.target, self.volume, self._rules = target, volume, rules
        self.axis, self._annotation = annotation.axis, annotation
        self._protected = set(annotation.protected)
        self._base: dict[int, np.ndarray] = {}
        self._base_record = Record.of(self._segment())
        self._before: dict[int, np.ndarray] = {}
        self._before_record = self._base_record
        self._record = self._read_record()
        self._base_origin: _Origin | None = None
        self._origin: _Origin | None = None
        self._run, self._slices, self._has_room = "", range(0), False
        self.refused: set[int] = set()
        """Slices of which the rules refused a part when they were last written."""

    @property
    def written(self) -> frozenset[int]:
        """Slices changed since the last Accept."""
        return frozenset(self._base) | frozenset(self._before)

    @property
    def name(self) -> str:
        """Of the segment, empty once it is gone."""
        return self._segment().GetName() if self.target.exists else ""

    @property
    def is_ours(self) -> bool:
        """Whether the segment still carries what the last run remembered in it: Undo and Redo exchange that too."""
        return self.target.exists and Record.of(self._segment()) == self._record

    def follow_undo(self) -> bool:
        """After Undo or Redo: go by the segment's own memory; False where it remembers nothing that we wrote.

        No run is going on then, and the mark of one may have come back with a state saved in its middle.
        """
        if not self.target.exists:
            return False
        if self._mark():  # not otherwise: any change of a segment ends what Redo could bring back
            self._segment().RemoveTag(_RUN_TAG)
        self._record = self._read_record()
        return self.is_ours

    def fits(self, volume: slicer.vtkMRMLScalarVolumeNode, axis: int) -> bool:
        """Whether slices of that volume across that axis are those that are remembered here."""
        return axis == self.axis and (volume is self.volume or same_grid(volume, self.volume))

    def begin(self, run: str, annotation: Annotation, slices: range, rules: EditingRules | None = None) -> None:
        """Start a run called ``run``; what the user drew since the last one is protected."""
        first = not self.written
        # Not at that run's end: until here it could still be taken back alone.
        self._base = {**self._before, **self._base}
        self._run, self._before, self.refused = run, {}, set()
        self._rules = self._rules if rules is None else rules
        self._origin = self._leave_turned_layer()
        if first and self._origin is not None:
            self._base_origin, self._base_record = self._origin, Record.of(self._segment())
        # The segment's own memory counts, not ours: the user may have pressed Undo since the last run.
        self._record, self._before_record = self._read_record(), Record.of(self._segment())
        self._keep_outlines()
        self._annotation, self._protected = annotation, set(annotation.protected)
        self._segment().SetTag(_RUN_TAG, run)
        self._record.keep_in(self._segment())
        self._slices = slices
        self._make_room()

    def write(self, index: int, mask: np.ndarray) -> bool:
        """Show one slice; False where it is the user's and stays as it is.

        Args:
            index: slice along the annotated axis.
            mask: (rows, columns) bool.

        Raises:
            Cancelled: the user undid the run.
            InputError: the segment or its geometry does not fit any more.
        """
        self._check_not_undone()
        self._follow_segment()
        self._leave_turned_layer()  # onto which a stroke in Segment Editor may have brought it back
        if index in self._protected:
            return False
        current = self._read(index)
        if not self._record.ours(index, current):
            self._protected.add(index)
            return False
        allowed = self._rules.allowed(index)
        wanted = np.where(allowed, mask, current)
        self.refused.discard(index)
        if (mask & ~allowed).any():
            self.refused.add(index)
        if np.array_equal(wanted, current):
            return True
        self._before.setdefault(index, current)
        write_slice(self.target.segmentation, self.target.segment_id, self.volume, self.axis, index, wanted)
        self._record.remember(index, self._read(index))
        self._record.keep_in(self._segment())
        if not self._has_room:  # the segment was empty until now
            self._make_room()
        return True

    def finish(self) -> None:
        """End the run: keep its memory with the segment, so that later corrections are recognised."""
        self._check_not_undone()
        self._follow_segment()
        self._end()

    def cancel(self) -> int:
        """Take the run back; returns how many slices stay because the user drew on them meanwhile."""
        kept = self._restore(self._before, self._before_record, self._origin)
        self._origin = None
        if not self._base and self.target.exists:
            self._base_origin, self._base_record = None, Record.of(self._segment())
        return kept

    def discard(self) -> int:
        """Take back everything since the last Accept; returns how many slices stay because the user drew on them."""
        before = {**self._before, **self._base}
        kept = self._restore(before, self._base_record, self._base_origin)
        self._base, self._origin, self._base_origin = {}, None, None
        return kept

    def accept(self) -> None:
        """Keep everything: there is nothing to take back any more."""
        self._origin, self._base_origin = None, None
        self._base, self._before, self._base_record = {}, {}, Record.of(self._segment()) if self.target.exists else None

    def _make_room(self) -> None:
        make_room(self.target.segmentation, self.target.segment_id, self.volume, self.axis, self._slices)
        self._has_room = stored_labels(self._segment()) is not None

    def _restore(self, before: dict[int, np.ndarray], record: Record | None, origin: _Origin | None) -> int:
        if not self.target.exists:
            return 0
        undone = not (self.is_ours or self._mark())
        self._follow_segment()
        if not undone:
            self._leave_turned_layer()
        slices = SegmentSlices(self.target.segmentation, self.target.segment_id, self.volume, self.axis)
        ours, kept = {}, 0
        for index, mask in before.items():
            current = slices.read(index)
            if np.array_equal(current, mask):
                continue
            if self._record.ours(index, current):
                ours[index] = mask
            else:
                kept += 1
        slices.write(ours)
        self._before = {}
        self._end()
        if origin is not None and not kept and origin.layer.put_back():
            record = origin.record
        elif record is not None and record.outlines is not None:
            # Slices that this run left alone may have been resampled since it began.
            others = {index: known for index, known in self._record.slices.items() if index not in before}
            self._record.slices = others | {index: known for index, known in record.slices.items() if index in before}
            self._keep_outlines()
            record = self._record
        if record is None:
            forget(self._segment())
        else:
            record.keep_in(self._segment())
        self._record = self._read_record()
        return kept

    def _end(self) -> None:
        self._segment().RemoveTag(_RUN_TAG)
        trim(self.target.segmentation, self.target.segment_id)

    def _check_not_undone(self) -> None:
        if not self.target.exists or self._mark() != self._run:
            raise Cancelled("The segment was removed or the propagation undone, so it was stopped.")

    def _mark(self) -> str:
        """The run that is going on in the segment, as far as that knows."""
        tag = vtk.reference("")
        return str(tag) if self._segment().GetTag(_RUN_TAG, tag) else ""

    def _follow_segment(self) -> None:
        """Go by the segment's own memory where Undo or Redo of a stroke has exchanged it together with the voxels."""
        if not self.is_ours:
            self._record, self._protected = self._read_record(), set(self._annotation.protected)

    def _leave_turned_layer(self) -> _Origin | None:
        """Onto the volume's grid, where the segment is not; what is ours is found out before, and reads the same after."""
        where = self.target.segmentation, self.target.segment_id, self.volume
        if not is_turned(*where):
            return None
        before, found = Record.of(self._segment()), drawn_slices(*where, self.axis)
        self._record = self._read_record()
        ours = found.propagated & frozenset(self._record.slices)
        layer = TurnedLayer.leave(*where, self.axis, found.cleared | (found.propagated - ours))
        if layer is None:
            return None
        self._protected |= found.protected
        for index in ours:
            self._record.remember(index, self._read(index))
        self._keep_outlines()
        self._record.keep_in(self._segment())
        return _Origin(layer, before)

    def _keep_outlines(self) -> None:
        """Let the record tell how all slices look, where Segment Editor would resample them."""
        self._record.outlines = None
        if turns_back(self.target.segmentation, self.volume):
            self._record.outlines = {}
            box = read_box(self.target.segmentation, self.target.segment_id, self.volume)
            if box is not None:
                first, count = box[1][self.axis], box[0].shape[self.axis]
                for index in range(first, first + count):
                    self._record.keep_outline(index, self._read(index))

    def _read_record(self) -> Record:
        shape, kept = self.volume.GetImageData().GetDimensions()[::-1], Record.of(self._segment())
        known = kept is not None and kept.shape == shape and kept.axis == self.axis
        return kept if known else Record(self.axis, shape)

    def _segment(self) -> slicer.vtkSegment:
        return self.target.segmentation.GetSegmentation().GetSegment(self.target.segment_id)

    def _read(self, index: int) -> np.ndarray:
        return read_slice(self.target.segmentation, self.target.segment_id, self.volume, self.axis, index)
