"""Each side of the largest annotation learns for itself, and a run finds again what an earlier one left there."""

import numpy as np
import pytest

from MedPerSAMLib.core.grid import WorkingGrid
from MedPerSAMLib.core.progress import CallbackProgress, Progress
from MedPerSAMLib.core.propagate.chain import ChainParts
from MedPerSAMLib.core.propagate.layout import Layout
from MedPerSAMLib.core.propagate.merge import run_chains
from MedPerSAMLib.core.propagate.sides import Sides
from MedPerSAMLib.core.propagate.step import StepSettings
from MedPerSAMLib.core.task import Reference
from MedPerSAMLib.errors import Cancelled

ROWS, COLUMNS = np.mgrid[:60, :60]
SLICES = 9


def _disc(size):
    return (ROWS - 30) ** 2 + (COLUMNS - 30) ** 2 < size**2


class _Counted:
    """Fields that leave everything where it is, and count what they carry."""

    def __init__(self):
        self.carried = []

    def has(self, pairs):
        return True

    def prepare(self, pairs, progress):
        raise AssertionError("there is nothing to prepare")

    def carry(self, soft, source, target):
        self.carried.append((source, target))
        return soft


class _Plain:
    """An appearance that tells nothing."""

    def contrast(self, index, mask):
        return 0.5


class _Maker:
    """Makes parts and remembers of which annotations."""

    def __init__(self):
        self.known, self.fields = [], _Counted()

    def __call__(self, known):
        self.known.append(sorted(known))
        planes = np.zeros((SLICES, 60, 60), np.float32)
        return ChainParts(planes, self.fields, _Plain(), 0.0, None, StepSettings(), None, 4.0)


def _run(masks, maker, kept, progress=None):
    grid, reference = WorkingGrid.of((60, 60), (1.0, 1.0)), Reference(masks)
    layout = Layout.of(range(SLICES), masks)
    sides = Sides(layout, maker, kept)
    return run_chains(sides, layout, grid, reference, SLICES, 0.0, progress or Progress())


def test_each_side_learns_from_the_largest_annotation_and_its_own():
    maker = _Maker()
    masks = {1: _disc(8), 4: _disc(15), 6: _disc(10), 8: _disc(5)}
    layout = Layout.of(range(SLICES), masks)
    sides = Sides(layout, maker)
    assert sorted(maker.known) == [[1, 4], [4, 6, 8]]
    for run in layout.runs:
        below = run[0] < 4 or (run[0] == 4 and run[1][:1] == (3,))
        if run[1]:
            assert sides.of(run) is sides.of((1, (0,)) if below else (8, (7,)))


def test_a_single_annotation_is_learned_once_for_both_sides():
    maker = _Maker()
    sides = Sides(Layout.of(range(SLICES), {4: _disc(15)}), maker)
    assert maker.known == [[4]] and sides.of((4, (3, 2))) is sides.of((4, (5, 6)))


def test_a_correction_learns_and_follows_on_its_own_side_only():
    maker, kept, seen = _Maker(), {}, []
    first = _run({4: _disc(15)}, maker, kept)
    assert maker.fields.carried
    maker.known.clear(), maker.fields.carried.clear()
    listener = CallbackProgress(on_slice=lambda index, mask, confidence: seen.append(index))
    second = _run({4: _disc(15), 7: _disc(10)}, maker, kept, listener)
    assert maker.known == [[4, 7]]
    assert maker.fields.carried and all(min(pair) >= 4 for pair in maker.fields.carried)
    assert (second.mask[:4] == first.mask[:4]).all() and (second.confidence[:4] == first.confidence[:4]).all()
    assert set(range(4)) <= set(seen[:8]), "what was kept is handed over first"


def test_the_same_run_again_follows_nothing_and_a_changed_outline_everything():
    maker, kept = _Maker(), {}
    first = _run({4: _disc(15)}, maker, kept)
    done = len(maker.fields.carried)
    again = _run({4: _disc(15)}, maker, kept)
    assert len(maker.fields.carried) == done
    assert (again.mask == first.mask).all() and (again.confidence == first.confidence).all()
    _run({4: _disc(14)}, maker, kept)
    assert len(maker.fields.carried) == 2 * done


def test_a_cancelled_run_leaves_no_half_followed_chain_and_a_cancel_is_heard_while_kept_slices_are_handed_over():
    maker, kept, seen = _Maker(), {}, []
    stop = CallbackProgress(on_slice=lambda *_: seen.append(0), is_cancelled=lambda: len(seen) >= 2)
    for done in (False, True):
        if done:
            _run({4: _disc(15)}, maker, kept)
        seen.clear()
        with pytest.raises(Cancelled):
            _run({4: _disc(15)}, maker, kept, stop)
        assert len(seen) == 2 and all(bool(side.chains) == done for side in kept.values())


def test_the_oldest_sides_are_forgotten():
    maker, kept = _Maker(), {}
    for size in range(5, 17):
        masks = {4: _disc(size), 5: _disc(size - 1)}
        Sides(Layout.of(range(SLICES), masks), maker, kept)
    assert len(kept) == 16
    maker.known.clear()
    Sides(Layout.of(range(SLICES), {4: _disc(16), 5: _disc(15)}), maker, kept)
    assert not maker.known
    Sides(Layout.of(range(SLICES), {4: _disc(5), 5: _disc(4)}), maker, kept)
    assert maker.known
