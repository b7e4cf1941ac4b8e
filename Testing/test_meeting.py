"""Where two chains meet: who counts how far between two annotated slices, what drifted, and the second look."""

import numpy as np
import pytest

from MedPerSAMLib.core.grid import WorkingGrid
from MedPerSAMLib.core.overlap import dice
from MedPerSAMLib.core.progress import CallbackProgress, Progress
from MedPerSAMLib.core.propagate.chain import Chain, ChainParts, Link, Said
from MedPerSAMLib.core.propagate.drift import drift_corrections
from MedPerSAMLib.core.propagate.layout import Layout
from MedPerSAMLib.core.propagate.meeting import MeetingSettings, arrival_error, chain_share
from MedPerSAMLib.core.propagate.merge import run_chains
from MedPerSAMLib.core.propagate.second_look import second_looks
from MedPerSAMLib.core.propagate.sides import Sides
from MedPerSAMLib.core.propagate.step import StepSettings
from MedPerSAMLib.core.task import Reference
from MedPerSAMLib.errors import Cancelled

ROWS, COLUMNS = np.mgrid[:80, :80]


def _disc(row, column, size):
    return (ROWS - row) ** 2 + (COLUMNS - column) ** 2 < size**2


class _Still:
    """Fields that leave everything where it is."""

    carry = staticmethod(lambda soft, source, target: soft)
    has = staticmethod(lambda pairs: True)


def test_drift_is_taken_back_the_more_the_nearer_to_the_annotation_that_showed_it():
    annotated = {2: _disc(40, 40, 20), 6: _disc(40, 40, 10)}
    corrections = drift_corrections(_Still(), Link(6, _disc(40, 40, 12)), (3, 4, 5), annotated, 3.0, 4.0)
    border = [corrections[index][40, 51] for index in (3, 4, 5)]
    assert 0 > border[0] > border[1] > border[2] > -2.5 and abs(border[0]) < 0.05
    assert all(np.abs(c).max() <= 4 for c in corrections.values())
    grown = drift_corrections(_Still(), Link(6, _disc(40, 40, 8)), (3, 4, 5), annotated, 3.0, 4.0)
    assert grown[5][40, 49] > 0
    assert drift_corrections(_Still(), None, (3, 4, 5), annotated, 3.0, 4.0) == {}


class _Plain:
    """An appearance that tells nothing."""

    def contrast(self, index, mask):
        return 0.5


def test_a_chain_from_a_tip_has_a_say_near_the_tip_only():
    large, tip = _disc(40, 40, 20), _disc(40, 40, 5)
    parts = ChainParts(np.zeros((7, 80, 80)), _Still(), _Plain(), 0.0, None, StepSettings(), None, 4.0)
    grid, reference = WorkingGrid.of((80, 80), (1.0, 1.0)), Reference({0: large, 6: tip})
    layout = Layout.of(range(7), reference.masks)
    found = run_chains(Sides(layout, lambda _known: parts), layout, grid, reference, 7, 0.0, Progress()).mask
    areas = found.sum(axis=(1, 2))
    assert dice(found[3], reference.masks[0]) > 0.9
    assert areas[3] > areas[4] > areas[5] > areas[6]
    assert all((found[i] == mask).all() for i, mask in reference.masks.items())


def _knows(truth, asked=None):
    """A refiner that knows the true mask of every slice."""

    def refiner(questions):
        if asked is not None:
            asked.append([question.index for question in questions])
        return [Said(np.where(truth[q.index], 3.0, -3.0)[q.window].astype(np.float32), {}) for q in questions]

    return refiner


def _parts(refiner=None, at_once=8):
    return ChainParts(np.zeros((7, 80, 80)), _Still(), _Plain(), 0.0, refiner, StepSettings(), None, 4.0, at_once)


def test_a_structure_tapers_from_a_correction_outward_only():
    masks = {5: _disc(40, 40, 15), 9: _disc(40, 40, 5), 12: _disc(40, 40, 8)}
    whole, part = Layout.of(range(16), masks), Layout.of(range(7, 16), masks)
    assert [run for run in whole.runs if whole.tapers(run)] == [(12, (13, 14, 15))]
    # A range that ends between two annotations: towards the largest the structure grows.
    assert (9, (8, 7)) in part.runs and [run for run in part.runs if part.tapers(run)] == [(12, (13, 14, 15))]


def test_a_chain_counts_by_its_size_and_by_the_error_that_it_arrives_with():
    settings = MeetingSettings()
    annotated = {4: _disc(40, 40, 10)}
    assert arrival_error(Link(4, _disc(40, 40, 10)), annotated) == 0
    assert 0.2 < arrival_error(Link(4, _disc(40, 44, 10)), annotated) < 0.8
    assert arrival_error(None, annotated) == 1
    assert chain_share(1.0, 0.1, 0.5, settings) > chain_share(1.0, 0.5, 0.5, settings)
    assert chain_share(1.0, 0.5, 0.2, settings) > chain_share(1.0, 0.5, 0.9, settings)
    assert chain_share(1.0, 0.3, 0.5, settings) > chain_share(0.3, 0.3, 0.5, settings)
    # A tip's chain that arrives well is believed where the large one's fails on its way to the tip.
    assert chain_share(0.3, 0.02, 0.2, settings) > chain_share(1.0, 0.9, 0.9, settings)


@pytest.mark.parametrize(("at_once", "together"), [(8, [[2, 3, 4]]), (2, [[2, 3], [4]])])
def test_a_second_look_repairs_common_outlines_and_leaves_alone_what_is_empty(at_once, together):
    truth, asked = {index: _disc(40, 42, 14) for index in range(7)}, []
    parts = _parts(_knows(truth, asked), at_once)
    chain = Chain(parts, 1, _disc(40, 40, 15), [2, 3, 4], 1, _disc(40, 40, 15))
    outlines = {4: _disc(40, 40, 15), 2: _disc(40, 40, 15), 3: _disc(40, 40, 15), 5: np.zeros((80, 80), bool)}
    found = dict(second_looks(parts, chain, outlines, Progress()))
    assert asked == together and sorted(found) == [2, 3, 4]
    assert all(dice(mask, truth[2]) > dice(outlines[4], truth[2]) + 0.02 for mask in found.values())
    assert not list(second_looks(_parts(), chain, outlines, Progress()))


def test_a_second_look_hears_a_cancel_before_each_batch():
    asked, truth = [], {index: _disc(40, 40, 14) for index in range(7)}
    parts = _parts(_knows(truth, asked), at_once=2)
    chain = Chain(parts, 1, _disc(40, 40, 15), [2, 3, 4], 1, _disc(40, 40, 15))
    progress = CallbackProgress(is_cancelled=lambda: bool(asked))
    with pytest.raises(Cancelled):
        list(second_looks(parts, chain, {index: _disc(40, 40, 15) for index in (2, 3, 4)}, progress))
    assert asked == [[2, 3]]


def test_slices_between_annotations_are_looked_at_again_and_no_others():
    masks, asked = {1: _disc(40, 40, 15), 4: _disc(40, 40, 12)}, []
    parts = _parts(_knows({index: _disc(40, 40, 14) for index in range(7)}, asked))
    grid, layout = WorkingGrid.of((80, 80), (1.0, 1.0)), Layout.of(range(7), masks)
    for share, looks in ((0.0, 2), (0.5, 3)):
        asked.clear()
        meeting = MeetingSettings(second_look=share)
        sides = Sides(layout, lambda _known: parts)
        run_chains(sides, layout, grid, Reference(masks), 7, 0.0, Progress(), meeting)
        counted = [index for questions in asked for index in questions]
        assert counted.count(2) == counted.count(3) == looks and counted.count(0) == counted.count(6) == 1
