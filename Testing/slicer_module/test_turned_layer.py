"""Segments whose grid is turned against the volume's: exact to the voxel after a run, as they were after Discard and Undo,
and known again after Segment Editor has resampled them."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import scene as build
import slicer
import vtk
from learned import made_up_profile
from strokes import REMOVE, SegmentEditor
from test_segment_io import _in_world, _voxel_centres

from MedPerSAMLib.core.task import Propagation
from MedPerSAMLib.errors import Cancelled, InputError
from MedPerSAMLib.mrml.annotated_slices import find_annotation
from MedPerSAMLib.mrml.geometry import matrix_array, slice_centre
from MedPerSAMLib.mrml.logic import PropagationLogic
from MedPerSAMLib.mrml.medpersam_logic import MedPerSAMLogic
from MedPerSAMLib.mrml.preview import Preview
from MedPerSAMLib.mrml.segment_reader import match_grids, read_mask, segment_ids, stored_labels
from MedPerSAMLib.mrml.shared_grid import label_array
from MedPerSAMLib.mrml.targets import NEW_SEGMENT, Target
from MedPerSAMLib.services.learning.profile import Label

SHAPE, CENTRE, DRAWN = (20, 40, 44), (9, 18, 22), 9
OBLIQUE, ANISOTROPIC = (10, 20, 30), (0.8, 0.9, 2.5)
CASES = {
    # rotation of the volume, its spacing, rotation and spacing of the own grid, transforms of volume and segmentation
    "own grid": ((0, 0, 0), (1, 1, 1), (0, 0, 10), (1, 1, 1), None, None),
    "own grid, tilted": ((0, 0, 0), ANISOTROPIC, (5, 10, 15), ANISOTROPIC, None, None),
    "own grid, isotropic": ((0, 0, 0), ANISOTROPIC, (20, 25, 30), (1.3, 1.3, 1.3), None, None),
    "own grid, finer": ((0, 0, 0), (1, 1, 1), (0, 0, 5), (0.5, 0.5, 0.5), None, None),
    "oblique volume": (OBLIQUE, ANISOTROPIC, (0, 0, 0), ANISOTROPIC, None, None),
    "volume turned by a transform": (OBLIQUE, ANISOTROPIC, OBLIQUE, ANISOTROPIC, ((4, 1, 0), 25), None),
    "segmentation turned by a transform": (OBLIQUE, ANISOTROPIC, OBLIQUE, ANISOTROPIC, None, ((0, 3, 0), -10)),
    "both, differently": (OBLIQUE, ANISOTROPIC, OBLIQUE, ANISOTROPIC, ((4, 1, 0), 25), ((0, 3, 0), -10)),
    "own grid and both": (OBLIQUE, ANISOTROPIC, (0, 0, 0), (1, 1, 1), ((4, 1, 0), 25), ((0, 3, 0), -10)),
}
EVERY = [(r, c) for r in range(0, SHAPE[1], 2) for c in range(0, SHAPE[2], 2)]


class Case:
    """A ball in a volume, and a Liver and a Kidney drawn by Segment Editor's brush in one layer of a turned grid."""

    def __init__(self, name: str) -> None:
        rotation, spacing, turn, own, move_volume, move_segmentation = CASES[name]
        k, j, i = np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
        self.ball = ((k - 9) / 7) ** 2 + ((j - 18) / 12) ** 2 + ((i - 22) / 13) ** 2 < 1
        self.volume = build.volume_node((100 * self.ball).astype(np.int16), spacing, rotation, (5, -7, 11))
        self.grid = build.volume_node(np.zeros((48, 90, 90), np.int16), own, turn, name="grid")
        self.segmentation = build.segmentation_node(None, "Liver", "Kidney")
        for node, move in ((self.volume, move_volume), (self.segmentation, move_segmentation)):
            if move is not None:
                node.SetAndObserveTransformNodeID(build.linear_transform(*move).GetID())
        self.grid.SetAndObserveTransformNodeID(self.segmentation.GetTransformNodeID())
        self._centre_grid()
        self.segmentation.SetReferenceImageGeometryParameterFromVolumeNode(self.grid)
        self.editor, self.logic = SegmentEditor(self.segmentation, self.volume), PropagationLogic()
        inner = [(r, c) for r in range(11, 27, 2) for c in range(13, 33, 2)]
        self.editor.stroke("Liver", 0, DRAWN, inner, 2.2)
        self.editor.stroke("Kidney", 0, DRAWN, [(35, 40)], 2.5)

    def _centre_grid(self) -> None:
        matrix, to_world = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
        parent = self.grid.GetParentTransformNode()
        if parent is not None:
            parent.GetMatrixTransformToWorld(to_world)
        self.grid.GetIJKToRASMatrix(matrix)
        centre = np.linalg.inv(matrix_array(to_world)) @ [*slice_centre(self.volume, 0, CENTRE[0], CENTRE[1:]), 1]
        origin = centre[:3] - matrix_array(matrix)[:3, :3] @ [45, 45, 24]
        for row in range(3):
            matrix.SetElement(row, 3, origin[row])
        self.grid.SetIJKToRASMatrix(matrix)

    @property
    def content(self) -> slicer.vtkSegmentation:
        return self.segmentation.GetSegmentation()

    def shares_layer(self) -> bool:
        return stored_labels(self.content.GetSegment("Liver")) is stored_labels(self.content.GetSegment("Kidney"))

    def mask(self, segment_id: str = "Liver") -> np.ndarray:
        return read_mask(self.segmentation, segment_id, self.volume)

    def found(self, segment_id: str = "Liver"):
        return find_annotation(self.segmentation, segment_id, self.volume)

    def stored(self) -> list:
        """Everything about the layers: of each segment, which one it shares, its value, geometry, voxels and tags."""
        images, all_of_it = [], []
        for segment_id in segment_ids(self.segmentation):
            segment = self.content.GetSegment(segment_id)
            labels, tag = stored_labels(segment), vtk.reference("")
            images.append(labels)
            matrix = vtk.vtkMatrix4x4()
            labels.GetImageToWorldMatrix(matrix)
            used = np.argwhere(label_array(labels) == segment.GetLabelValue()) + np.array(labels.GetExtent()[4::-2])
            kept = segment.GetTag("MedPerSAM.Propagated", tag), str(tag)
            place = images.index(labels), segment.GetLabelValue(), matrix_array(matrix).round(6).tolist()
            all_of_it.append((segment_id, *place, hashlib.sha256(used.tobytes()).hexdigest(), kept))
        return all_of_it

    def run(self, logic: PropagationLogic | None = None, **options) -> np.ndarray:
        """A propagation that finds the ball; gives what it should look like on the volume."""
        logic = self.logic if logic is None else logic
        run = logic.start(self.volume, self.segmentation, ["Liver"], method="copy", device="cpu", **options)
        list(run.finish({"Liver": self.result()}))
        expected = self.ball.copy()
        for index, drawn in run.structures["Liver"].annotation.masks.items():
            expected[index] = drawn
        return expected

    def result(self) -> Propagation:
        everything = np.ones(SHAPE[0], bool)
        return Propagation(self.ball, np.full(SHAPE[0], 0.5, np.float32), self.ball.any(axis=(1, 2)), everything)


@pytest.fixture(params=CASES)
def case(scene, request):
    return Case(request.param)


@pytest.fixture
def tilted(scene):
    return Case("own grid, tilted")


def in_slicer(case: Case, segment_id: str, grid) -> np.ndarray:
    return slicer.util.arrayFromSegmentBinaryLabelmap(case.segmentation, segment_id, grid) != 0


def test_a_run_reads_back_exactly_and_other_segments_stay(case):
    drawn, kidney = case.mask()[DRAWN], in_slicer(case, "Kidney", case.grid)
    layer = stored_labels(case.content.GetSegment("Kidney"))
    value = case.content.GetSegment("Kidney").GetLabelValue()
    others = label_array(layer) == value
    assert case.shares_layer() and list(case.found().masks) == [DRAWN]
    expected = case.run()
    assert np.array_equal(expected[DRAWN], drawn)
    assert np.array_equal(case.mask(), expected)
    assert np.array_equal(_in_world(case.segmentation, "Liver", _voxel_centres(case.volume)), expected.reshape(-1))
    if None in (case.segmentation.GetParentTransformNode(), case.volume.GetParentTransformNode()):
        # Slicer's export takes two transforms together for one that is not linear, and resamples twice.
        assert np.array_equal(in_slicer(case, "Liver", case.volume), expected)
    found = case.found()
    assert list(found.masks) == [DRAWN] and not found.cleared and not found.warnings
    assert stored_labels(case.content.GetSegment("Kidney")) is layer
    assert np.array_equal(label_array(layer), others * value)
    assert np.array_equal(in_slicer(case, "Kidney", case.grid), kidney)
    again = case.run()
    assert np.array_equal(again, expected) and np.array_equal(case.mask(), expected)


def test_discard_undo_and_redo_restore_everything(case):
    before = case.stored()
    case.run()
    after = case.stored()
    assert after != before and case.logic.discard() == 0 and case.stored() == before
    case.run()
    case.run()
    assert case.logic.discard() == 0 and case.stored() == before, "two runs, one Discard"
    case.run()
    assert case.logic.undo.undo(case.segmentation) and case.stored() == before
    assert case.logic.drop_undone() and not case.logic.pending
    assert case.logic.undo.redo(case.segmentation) and case.stored() == after


@pytest.mark.parametrize("written", [False, True])
def test_cancel_restores_everything(case, written):
    before = case.stored()
    run = case.logic.start(case.volume, case.segmentation, ["Liver"], method="copy", device="cpu")
    if written:
        run.write("Liver", 12, case.ball[12])
    assert run.cancel() == 0 and case.stored() == before
    assert case.logic.discard() == 0 and case.stored() == before


def test_a_correction_that_resamples_everything_is_found_alone(case):
    expected = case.run()
    case.editor.stroke("Liver", 0, 13, [(28, 30)], 3)
    assert match_grids(case.segmentation, "Liver", case.volume).degrees > 1, "Segment Editor has turned it back"
    resampled, found = case.mask(), case.found()
    differs = [index for index in range(SHAPE[0]) if not np.array_equal(resampled[index], expected[index])]
    assert 13 in differs and "a run puts it onto the volume's grid" in found.warnings[0]
    assert sorted(found.masks) == [DRAWN, 13] and not found.cleared
    expected = case.run()
    assert np.array_equal(expected[[DRAWN, 13]], resampled[[DRAWN, 13]]), "exactly as they read"
    assert np.array_equal(case.mask(), expected) and sorted(case.found().masks) == [DRAWN, 13]
    case.editor.stroke("Liver", 0, 6, [(18, 34)], 3)
    assert sorted(case.found().masks) == [6, DRAWN, 13], "an earlier correction stays one"
    drawn = case.mask()[[6, DRAWN, 13]]
    assert case.logic.discard() == 2
    assert np.array_equal(case.mask()[[6, DRAWN, 13]], drawn) and sorted(case.found().masks) == [6, DRAWN, 13]


def test_a_cleared_slice_ends_the_structure(case):
    case.run()
    case.editor.stroke("Liver", 0, 4, EVERY, 3, REMOVE)
    found = case.found()
    assert list(found.masks) == [DRAWN] and found.cleared == {4} and found.open_range() == range(5, SHAPE[0])
    case.run()
    found = case.found()
    assert list(found.masks) == [DRAWN] and 4 in found.cleared and found.open_range().start == 5


def test_a_stroke_on_another_segment_is_no_correction_of_this_one(case):
    expected = case.run()
    case.editor.stroke("Kidney", 0, 12, [(26, 28)], 4)  # overwrites a corner of the Liver
    found, kidney = case.found(), case.mask("Kidney")
    assert set(found.masks) <= {DRAWN, 12} and not found.cleared
    case.run()
    assert np.array_equal(case.mask("Kidney"), kidney)
    assert np.array_equal(case.mask()[6], expected[6]) and not (case.mask() & kidney).any()


def test_a_stroke_in_the_middle_of_a_run_stays(case):
    run = case.logic.start(case.volume, case.segmentation, ["Liver"], method="copy", device="cpu")
    for index in (10, 11, 12):
        run.write("Liver", index, case.ball[index])
    case.editor.stroke("Liver", 0, 14, [(20, 20)], 4)
    drawn = case.mask()
    list(run.finish({"Liver": case.result()}))
    expected = case.ball.copy()
    expected[[DRAWN, 14]] = drawn[[DRAWN, 14]]
    assert np.array_equal(case.mask(), expected) and sorted(case.found().masks) == [DRAWN, 14]


def test_a_file_keeps_what_is_known(case, tmp_path):
    """Slicer brings all segments of a file onto one grid."""
    case.run()
    storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(tmp_path / "case.seg.nrrd"))
    assert storage.WriteData(case.segmentation)
    loaded = build.segmentation_node(None)
    assert storage.ReadData(loaded)
    loaded.SetAndObserveTransformNodeID(case.segmentation.GetTransformNodeID())
    case.segmentation, logic = loaded, PropagationLogic()
    found, read = case.found(), case.mask()
    assert list(found.masks) == [DRAWN] and not found.cleared
    expected = case.run(logic)
    assert np.array_equal(case.mask(), expected) and np.array_equal(expected[DRAWN], read[DRAWN])


def test_a_new_segment_is_exact_and_its_source_stays(case):
    before = case.stored()
    expected = case.run(target=NEW_SEGMENT)
    made = segment_ids(case.segmentation)[2]
    assert np.array_equal(case.mask(made), expected) and list(case.found(made).masks) == [DRAWN]
    assert case.stored()[:2] == before
    case.logic.discard()
    assert case.stored() == before


def test_what_is_drawn_thinly_counts_and_what_a_drawing_touches_does_not(scene):
    case = Case("volume turned by a transform")
    assert set(np.flatnonzero(case.mask().any(axis=(1, 2)))) > {DRAWN}, "single voxels on its neighbours"
    case.editor.stroke("Liver", 0, 15, [(18, 22)], 0.6)
    assert 0 < case.mask()[15].sum() < 4
    thin = case.mask()[15]
    assert sorted(case.found().masks) == [DRAWN, 15]
    preview = Preview(Target(case.segmentation, "Liver"), case.volume, case.found(), None)
    preview.begin("run", case.found(), range(SHAPE[0]))
    assert sorted(case.found().masks) == [DRAWN, 15] and np.array_equal(case.mask()[15], thin)


def test_an_application_of_a_profile_is_exact_too(case):
    slicer.mrmlScene.RemoveNode(case.grid)  # no other volume claims the segmentation
    before, drawn, logic = case.stored(), case.mask()[DRAWN], MedPerSAMLogic()
    profile = replace(made_up_profile(), labels=(Label("Liver", (0.8, 0.4, 0.3)),), directions="")
    run = logic.start_apply(profile, case.volume, case.segmentation)
    list(run.finish(run.settle({"Liver": case.result()})))
    expected = case.ball.copy()
    expected[DRAWN] = drawn
    assert np.array_equal(case.mask(), expected) and list(case.found().masks) == [DRAWN]
    assert logic.discard() == 0 and case.stored() == before


def test_where_another_segment_was_drawn_meanwhile_discard_keeps_both(tilted):
    liver, kidney = tilted.mask(), stored_labels(tilted.content.GetSegment("Kidney"))
    place = tuple(np.argwhere(label_array(kidney) == tilted.content.GetSegment("Liver").GetLabelValue())[0])
    value = tilted.content.GetSegment("Kidney").GetLabelValue()
    tilted.run()
    label_array(kidney)[place] = value  # where the Liver was, on the layer that both had
    assert tilted.logic.discard() == 0
    assert np.array_equal(tilted.mask(), liver) and label_array(kidney)[place] == value
    assert not tilted.shares_layer()


def test_undo_of_a_run_stops_it(tilted):
    before = tilted.stored()
    run = tilted.logic.start(tilted.volume, tilted.segmentation, ["Liver"], method="copy", device="cpu")
    run.write("Liver", 12, tilted.ball[12])
    tilted.logic.undo.undo(tilted.segmentation)
    with pytest.raises(Cancelled, match="undone"):
        run.write("Liver", 13, tilted.ball[13])
    run.cancel()
    assert tilted.stored() == before


def sheared():
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Sheared")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 1, 0.2)
    node.SetMatrixTransformToParent(matrix)
    return node


def test_what_no_labelmap_can_hold_is_refused(scene):
    case = Case("oblique volume")
    before = label_array(stored_labels(case.segmentation.GetSegmentation().GetSegment("Liver"))).copy()
    transform = sheared()
    case.volume.SetAndObserveTransformNodeID(transform.GetID())
    with pytest.raises(InputError, match="'CT' and 'Segmentation' shear one against the other.*same transform"):
        find_annotation(case.segmentation, "Liver", case.volume)
    with pytest.raises(InputError, match="shear"):
        case.logic.start(case.volume, case.segmentation, ["Liver"], "copy")
    assert np.array_equal(label_array(stored_labels(case.segmentation.GetSegmentation().GetSegment("Liver"))), before)
    case.segmentation.SetAndObserveTransformNodeID(transform.GetID())
    assert DRAWN in find_annotation(case.segmentation, "Liver", case.volume).masks
