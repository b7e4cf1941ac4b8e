"""A chain's single parts: correction of a carried mask, presence, confidence, clean-up, layout."""

import numpy as np
import pytest

from MedPerSAMLib.core.grid import WorkingGrid
from MedPerSAMLib.core.overlap import dice
from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.core.propagate.chain import ChainParts, Said
from MedPerSAMLib.core.propagate.cleanup import smooth_across, touching_references
from MedPerSAMLib.core.propagate.confidence import absence_confidence, slice_confidence
from MedPerSAMLib.core.propagate.distinct import distinct_looks, distinctness
from MedPerSAMLib.core.propagate.layout import Layout
from MedPerSAMLib.core.propagate.merge import run_chains
from MedPerSAMLib.core.propagate.place import PlaceSettings, place_outline
from MedPerSAMLib.core.propagate.presence import PresenceSettings, PresenceTracker, Sight
from MedPerSAMLib.core.propagate.sides import Sides
from MedPerSAMLib.core.propagate.step import FAR, StepSettings, correct, outline_distance, signed_distance
from MedPerSAMLib.core.task import Reference

ROWS, COLUMNS = np.mgrid[:80, :80]


def _disc(row, column, size):
    return (ROWS - row) ** 2 + (COLUMNS - column) ** 2 < size**2


def test_without_evidence_the_carried_mask_stays():
    carried = _disc(40, 40, 15)
    mask, _ = correct(carried, [], 4.0, StepSettings())
    assert dice(mask, carried) > 0.97


def test_evidence_moves_the_border_and_gives_up_what_looks_otherwise():
    carried, truth = _disc(40, 40, 15), _disc(40, 42, 14)
    evidence = np.where(truth, 1.5, -1.5).astype(np.float32)
    mask, _ = correct(carried, [evidence], 4.0, StepSettings())
    assert dice(mask, truth) > max(0.96, dice(carried, truth))


def test_growth_per_step_is_bounded_so_that_a_leak_stays_small():
    carried = _disc(40, 40, 10)
    mask, _ = correct(carried, [np.full(carried.shape, 3.0, np.float32)], 2.0, StepSettings())
    assert signed_distance(carried)[mask].min() > -2


def test_parts_that_do_not_touch_the_carried_mask_are_dropped():
    carried = _disc(20, 20, 8)
    evidence = np.where(_disc(20, 20, 8) | _disc(60, 60, 10), 3.0, -3.0).astype(np.float32)
    mask, _ = correct(carried, [evidence], 200.0, StepSettings(growth_share=50.0))
    assert not mask[55:65, 55:65].any() and mask[20, 20]


def test_what_grows_again_beyond_a_correction_is_a_leak():
    for tapers, followed in ((False, True), (True, False)):
        tracker = PresenceTracker(Sight(1000, 0.8), Sight(250, 0.8), PresenceSettings(), tapers)
        seen = [tracker.see(Sight(area, 0.7)) for area in (240, 450, 600, 600)]
        assert seen[0] > 0 and (seen[-1] > 0) == followed
    steady = PresenceTracker(Sight(1000, 0.8), Sight(250, 0.8), PresenceSettings(), True)
    assert min(steady.see(Sight(area, 0.8)) for area in (240, 255, 245, 260)) > 0


def _tracker(**changes):
    return PresenceTracker(Sight(1000, 0.8), Sight(1000, 0.8), PresenceSettings(**changes))


def test_a_structure_that_looks_the_same_is_followed_and_one_that_vanished_is_cut_back():
    tracker = _tracker()
    same = [tracker.see(Sight(900, 0.8)) for _ in range(5)]
    gone = [tracker.see(Sight(100, 0.0)) for _ in range(3)]
    assert min(same) > 0 > gone[1]
    answers = [tracker.add(evidence) for evidence in same + gone]
    assert answers[:5] == [True] * 5 and answers[-1] is False
    assert tracker.kept_steps == 6, "the slice after a good one has the benefit of the doubt"


def test_a_tube_is_followed_however_far_it_runs():
    tracker = _tracker()
    assert all(tracker.add(tracker.see(Sight(950, 0.5))) for _ in range(200)) and tracker.kept_steps == 200


def test_a_leak_past_the_end_of_a_dwindling_structure_is_no_evidence_for_it():
    dwindled, steady = _tracker(), _tracker()
    for area in (500, 150, 40):
        dwindled.see(Sight(area, 0.5))
        steady.see(Sight(900, 0.5))
    leak = Sight(800, 0.3)
    assert dwindled.see(leak) < 0 < steady.see(leak)


def test_features_that_no_longer_tell_the_structure_speak_against_it_however_it_looks():
    without = {_tracker().see(Sight(900, 0.1, features)) for features in (None, 0.9, 0.1)}
    assert len(without) == 1, "where none are known of the annotation they say nothing"
    told, lost = (PresenceTracker(Sight(1000, 0.8, 1.0), Sight(1000, 0.8, 1.0), PresenceSettings()) for _ in range(2))
    same = [told.see(Sight(900, 0.4, 0.9)) for _ in range(3)]
    gone = [lost.see(Sight(900, 0.4, features)) for features in (0.5, 0.1, 0.0)]
    assert min(same) > 0 > gone[-1] and gone[0] > gone[1] > gone[2]


def test_one_doubtful_slice_does_not_end_a_chain():
    tracker = _tracker()
    for evidence in (1.0, 1.0, -0.8, 1.0, 1.0):
        assert tracker.add(evidence)
    assert tracker.kept_steps == 5


def test_confidence_falls_with_each_sign_and_absence_is_least_sure_at_the_end():
    good = {"cycle": 0.95, "contrast": 1.0, "predicted_iou": 0.9, "agreement": 0.95}
    whole = slice_confidence(good, 1.0)
    assert all(slice_confidence({**good, name: 0.3}, 1.0) < whole for name in good)
    assert slice_confidence(good, -2.0) < whole
    assert absence_confidence(0.0) < absence_confidence(1.0) < absence_confidence(10.0) < 1


def test_only_what_hangs_together_with_an_annotation_is_kept():
    mask = np.zeros((5, 80, 80), bool)
    mask[1:4] = _disc(40, 40, 8)
    mask[2:5, 5:9, 5:9] = True
    kept = touching_references(mask, {2: _disc(40, 40, 8)})
    assert kept[3, 40, 40] and not kept[:, 5:9, 5:9].any()


def test_smoothing_leaves_annotated_and_absent_slices_alone():
    scores = np.random.default_rng(0).normal(size=(6, 8, 8)).astype(np.float32)
    present = np.array([True, True, True, True, True, False])
    smooth = smooth_across(scores, present, {2: scores[2] > 0}, 1.0)
    assert (smooth[2] == scores[2]).all() and (smooth[5] == scores[5]).all() and (smooth[1] != scores[1]).any()


def test_chains_share_the_slices_between_two_annotations_and_stop_at_the_range():
    layout = Layout.of([2, 3, 4, 6, 7, 8, 9], {5: _disc(40, 40, 5), 8: _disc(40, 40, 5)})
    assert (5, (6, 7)) in layout.runs and (8, (7, 6)) in layout.runs
    assert (5, (4, 3, 2)) in layout.runs and (8, (9,)) in layout.runs
    assert layout.between == {6, 7}
    assert set(layout.pairs()[:2]) <= {(5, 6), (6, 5), (5, 4), (4, 5), (8, 7), (7, 8), (8, 9), (9, 8)}


class _Still:
    """Fields that leave everything where it is."""

    carry = staticmethod(lambda soft, source, target: soft)
    has = staticmethod(lambda pairs: True)


class _LooksUntil:
    """An appearance that knows the structure up to a slice, and nothing of it beyond."""

    def __init__(self, last):
        self._last = last

    def contrast(self, index, mask):
        return 0.8 if index <= self._last else 0.0

    def log_odds(self, index, window):
        shape = tuple(part.stop - part.start for part in window)
        return np.full(shape, 2.0 if index <= self._last else -2.0, np.float32)


def _always_finds(questions):
    return [Said(np.where(carried, 3.0, -3.0)[window].astype(np.float32), {}) for _, carried, window in questions]


def test_a_refiner_that_always_finds_something_does_not_hold_a_structure_beyond_its_end():
    disc = _disc(40, 40, 15)
    grid, reference = WorkingGrid.of((80, 80), (1.0, 1.0)), Reference({0: disc})
    found = {}
    for support in (0.3, 0.0):
        step = StepSettings(support=support)
        parts = ChainParts(
            np.zeros((7, 80, 80)), _Still(), _LooksUntil(3), 0.5, _always_finds, step, None, 4.0
        )
        layout = Layout.of(range(7), reference.masks)
        sides = Sides(layout, lambda _known, parts=parts: parts)
        found[support] = run_chains(sides, layout, grid, reference, 7, 0.0, Progress()).mask.sum(axis=(1, 2))
    assert (found[0.3][:4] > 0.9 * disc.sum()).all() and not found[0.3][4:].any()
    assert (found[0.0] > 0.9 * disc.sum()).all()


@pytest.mark.parametrize(
    ("at_once", "together"), [(8, [[3, 1], [4, 0], [5], [6]]), (1, [[3], [1], [4], [0], [5], [6]])]
)
def test_both_directions_ask_their_refiner_together(at_once, together):
    disc, asked = _disc(40, 40, 15), []

    def refiner(questions):
        asked.append([question.index for question in questions])
        return _always_finds(questions)

    parts = ChainParts(
        np.zeros((7, 80, 80)), _Still(), _LooksUntil(9), 0.5, refiner, StepSettings(), None, 4.0, at_once
    )
    layout = Layout.of(range(7), {2: disc})
    grid = WorkingGrid.of((80, 80), (1.0, 1.0))
    run_chains(Sides(layout, lambda _known: parts), layout, grid, Reference({2: disc}), 7, 0.0, Progress())
    assert asked == together


def test_outline_distances_are_bounded_far_from_the_outline():
    distance = outline_distance(_disc(40, 40, 15))
    assert distance[40, 40] == FAR and distance[0, 0] == -FAR and distance[40, 56] < 0 < distance[40, 53]


@pytest.mark.parametrize("place,size", [((55, 30), 12), ((30, 50), 7)])
def test_an_outline_is_moved_and_scaled_to_where_the_image_looks_like_it(place, size):
    looks = np.where(_disc(*place, size), 2.0, -2.0).astype(np.float32)
    found = place_outline(_disc(40, 40, 10), looks, PlaceSettings())
    assert dice(found, _disc(*place, size)) > 0.8


def test_a_structure_is_distinct_where_no_other_place_looks_like_it():
    own, twin = _disc(40, 30, 8), _disc(40, 60, 8)
    probability = np.where(own, 0.9, 0.1)
    assert distinctness(own, probability) > 0.9
    assert distinctness(own, np.where(twin, 0.9, probability)) < 0.05
    assert 0.3 < distinctness(own, np.where(twin, 0.5, probability)) < 0.7
    assert distinctness(own, np.full((80, 80), 0.5)) == 0


def test_looks_that_only_brightness_tells_apart_are_not_distinct():
    own, twin = _disc(40, 30, 8), _disc(40, 60, 8)

    def looks(image):
        """As a structure of 0.6 does."""
        return np.exp(-((image - 0.6) ** 2) / 0.01)

    alone = np.where(own, 0.6, 0.1).astype(np.float32)
    assert distinct_looks(alone, own, looks) > 0.9
    # Beside a brighter twin: it is told apart here, and taken for it in darker copies.
    both = np.where(twin, 0.8, alone).astype(np.float32)
    assert distinctness(own, looks(both)) > 0.9
    assert distinct_looks(both, own, looks) < 0.7
