"""Two hundred random sequences of what users do, with the real worker thread: no exception, and a consistent scene at
the end."""

from __future__ import annotations

import random
import time
from dataclasses import replace

import numpy as np
import pytest
import scene as build
import vtk
from fakes import FakeDependencies, FakeParameters
from learned import made_up_profile
from slow_learning import slow_apply, slow_fit

from MedPerSAMLib.core import methods
from MedPerSAMLib.core.outline import Outline
from MedPerSAMLib.errors import MedPerSAMError
from MedPerSAMLib.mrml import applied_run, medpersam_logic, snap
from MedPerSAMLib.mrml.annotated_slices import find_annotation
from MedPerSAMLib.mrml.medpersam_logic import MedPerSAMLogic
from MedPerSAMLib.mrml.panel_state import BUSY, PHASES
from MedPerSAMLib.mrml.presenter import Presenter
from MedPerSAMLib.mrml.segment_reader import read_mask, segment_ids
from MedPerSAMLib.mrml.segment_writer import write_slice
from MedPerSAMLib.services.jobs import Jobs
from MedPerSAMLib.services.learning.profile import Label
from MedPerSAMLib.services.models.store import ModelStore

SEQUENCES, LENGTH = 200, 26
SHAPE = (10, 14, 16)


class User:
    """Someone who presses and draws at random, and remembers what was drawn by hand.

    Args:
        scene: an empty scene.
        presenter: of the panel.
        logic: its logic.
        seed: of everything random.
    """

    def __init__(self, scene, presenter: Presenter, logic: MedPerSAMLogic, seed: int) -> None:
        self.scene, self.presenter, self.logic, self.random = scene, presenter, logic, random.Random(seed)
        self.drawn: dict[tuple[str, str, int], np.ndarray] = {}
        self.erased: set[tuple[str, int]] = set()
        self.undone_while_running = self.pressed_undo = self.snapped = 0
        self.exchanged = False
        """Whether Undo or Redo brought back a state that was saved in the middle of an earlier run."""
        self.done: list[str] = []
        self.open_case()

    def act(self) -> None:
        """One random action."""
        actions = [
            self.open_case,
            self.draw,
            self.draw,
            self.erase,
            self.undo,
            self.redo,
            self.draw_and_undo,
            self.draw_and_undo,
            self.change_node,
            self.delete_node,
            self.close_scene,
            self.run,
            self.run,
            self.run,
            self.run,
            self.cancel,
            self.cancel,
            self.accept,
            self.discard,
            self.press_undo,
            self.press_undo,
            self.press_redo,
            self.navigate,
            self.wait,
            self.wait,
            self.wait,
            self.choose_target,
            self.choose_range,
            self.delete_segment,
            self.add_case,
            self.add_case,
            self.remove_case,
            self.fit,
            self.fit,
            self.apply,
            self.apply,
            self.apply_again,
            self.snap,
            self.snap,
        ]
        action = self.random.choice(actions)
        self.done.append(action.__name__)
        action()
        for _ in range(self.random.randrange(3)):
            self.presenter.tick()
        assert self.presenter.state.phase in PHASES
        self.check_drawn()
        self.check_cleared()

    def check_drawn(self) -> None:
        """What was drawn by hand is never changed by us."""
        for (node_id, segment_id, index), mask in self.drawn.items():
            node = self.scene.GetNodeByID(node_id)
            if node is None or node.GetSegmentation().GetSegment(segment_id) is None:
                continue
            volume = self.scene.GetNodeByID(node.GetAttribute("volume"))
            if volume is None:
                continue
            now = read_mask(node, segment_id, volume)[index]
            assert np.array_equal(now, mask), f"slice {index} of {segment_id} has changed after {self.done}"

    def check_cleared(self) -> None:
        """No slice counts as cleared by the user that the user did not erase: it would end the structure there."""
        if self.gone() or self.presenter.state.phase in BUSY:
            return
        for segment_id in segment_ids(self.segmentation):
            try:
                cleared = find_annotation(self.segmentation, segment_id, self.volume).cleared
            except MedPerSAMError:
                continue
            lost = [i for i in cleared if (self.segmentation.GetID(), i) not in self.erased]
            assert not lost, f"slices {lost} of {segment_id} were lost after {self.done}"

    def rest(self) -> None:
        """Wait until nothing runs."""
        end = time.monotonic() + 15  # the first run of all imports torch
        while self.presenter.state.phase in BUSY:
            self.presenter.tick()
            time.sleep(0.001)
            assert time.monotonic() < end, f"still {self.presenter.state.phase} after {self.done}"

    # Actions

    def open_case(self) -> None:
        noise = np.random.default_rng(self.random.randrange(99)).normal(50, 20, SHAPE).astype(np.int16)
        self.volume = build.volume_node(noise, (1, 1, 2.5), (self.random.choice([0, 20]), 0, 0))
        self.segmentation = build.segmentation_node(self.volume, "Liver", "Kidney")
        self.segmentation.SetAttribute("volume", self.volume.GetID())
        self.draw()
        parameters = self.presenter.parameters or FakeParameters(method="slow-copy")
        self.choose(parameters, self.volume, self.segmentation, ["Liver"])

    def draw(self) -> None:
        if self.gone():
            return
        segment_id, index = self.random.choice(["Liver", "Liver", "Kidney"]), self.random.randrange(SHAPE[0])
        mask = np.zeros(SHAPE[1:], bool)
        row, column = self.random.randrange(1, 5), self.random.randrange(1, 6)
        mask[row : row + 9, column : column + 10] = True
        self.put(segment_id, index, mask)

    def erase(self) -> None:
        if not self.gone():
            index = self.random.randrange(SHAPE[0])
            self.erased.add((self.segmentation.GetID(), index))
            self.put("Liver", index, np.zeros(SHAPE[1:], bool))

    def undo(self) -> None:
        if not self.gone():
            self.forget_drawn()
            self.undone_while_running += self.presenter.state.phase in BUSY
            before = self.marks()
            self.logic.undo.undo(self.segmentation)
            self.exchanged |= bool(self.marks() - before)

    def redo(self) -> None:
        if not self.gone():
            self.forget_drawn()
            before = self.marks()
            self.logic.undo.redo(self.segmentation)
            self.exchanged |= bool(self.marks() - before)

    def draw_and_undo(self) -> None:
        """A stroke that is taken back while a run, if there is one, writes on."""
        if self.gone():
            return
        busy = self.presenter.state.phase in BUSY
        self.draw()
        for _ in range(self.random.randrange(4)):
            time.sleep(0.003)
            self.presenter.tick()
        self.undo()
        if busy and self.random.random() < 0.7:
            self.rest()

    def change_node(self) -> None:
        found = self.scene.GetNodesByClass("vtkMRMLSegmentationNode")
        found.UnRegister(None)
        nodes = [found.GetItemAsObject(i) for i in range(found.GetNumberOfItems())]
        nodes = [n for n in nodes if n.GetAttribute("volume") and self.scene.GetNodeByID(n.GetAttribute("volume"))]
        if nodes and self.presenter.parameters is not None:
            self.segmentation = self.random.choice(nodes)
            self.volume = self.volume_of(self.segmentation)
            self.choose(self.presenter.parameters, self.volume, self.segmentation, ["Liver"])

    def delete_node(self) -> None:
        node = self.random.choice([self.volume, self.segmentation])
        if node.GetScene() is not None:
            self.scene.RemoveNode(node)
            parameters = self.presenter.parameters  # Slicer's parameter node loses its references
            if parameters is not None and parameters.volume is node:
                parameters.volume = None
            if parameters is not None and parameters.segmentation is node:
                parameters.segmentation = None
            self.presenter.inputs_changed()

    def delete_segment(self) -> None:
        if not self.gone() and self.random.random() < 0.5:
            self.drawn = {key: mask for key, mask in self.drawn.items() if key[1] != "Kidney"}
            self.segmentation.GetSegmentation().RemoveSegment("Kidney")

    def close_scene(self) -> None:
        if self.random.random() < 0.5:
            self.presenter.scene_closing()
            self.scene.Clear(0)
            self.drawn = {}
            self.open_case()

    def run(self) -> None:
        if self.presenter.parameters is not None:
            self.presenter.parameters.method = self.random.choice(["slow-copy", "slow-copy", "copy", "broken"])
            self.presenter.inputs_changed()
            if self.presenter.state.ready and self.presenter.state.phase not in BUSY:
                self.presenter.press_main()

    def cancel(self) -> None:
        if self.presenter.parameters is not None:
            self.presenter.parameters.keepFinished = self.random.random() < 0.3
        self.presenter.cancel()

    def accept(self) -> None:
        self.presenter.accept()

    def discard(self) -> None:
        self.presenter.discard()

    def press_undo(self) -> None:
        """The panel's Undo; it takes back a propagation, nothing that was drawn."""
        before = self.presenter.state.undo_reason
        self.presenter.undo()
        self.pressed_undo += not before
        self.follow_snap()

    def press_redo(self) -> None:
        self.presenter.redo()
        self.follow_snap()

    def navigate(self) -> None:
        self.random.choice([self.presenter.go_to_worst, self.presenter.go_to_next, self.presenter.go_to_previous])()

    def wait(self) -> None:
        if self.random.random() < 0.3:
            self.rest()
        else:
            time.sleep(0.004)

    def choose_target(self) -> None:
        if self.presenter.parameters is not None:
            self.presenter.parameters.target = self.random.choice(["same segment", "new segment", "new segmentation"])

    def choose_range(self) -> None:
        parameters = self.presenter.parameters
        if parameters is not None:
            parameters.limitRange = self.random.random() < 0.5
            parameters.firstSlice, parameters.lastSlice = (
                self.random.randrange(0, 5),
                self.random.randrange(5, SHAPE[0]),
            )

    def add_case(self) -> None:
        self.presenter.learning.add_case()

    def remove_case(self) -> None:
        self.presenter.learning.remove_case(self.random.randrange(3))

    def fit(self) -> None:
        """Starts a fit, or cancels one."""
        if self.presenter.parameters is not None:
            self.presenter.parameters.learner = self.random.choice(["autosam-cnn", "autosam-cnn", "autosam-vit"])
            self.presenter.learning.press_fit()

    def apply(self) -> None:
        """Applies the profile, or cancels that; from time to time one that was fitted elsewhere."""
        learning = self.presenter.learning
        if learning.profile is None and self.random.random() < 0.5:
            labels = (Label("Liver", (0.8, 0.4, 0.3)), Label("Spleen", (0.6, 0.1, 0.4)))
            learning.profile = replace(made_up_profile(), labels=labels, directions="")
        learning.press_apply()

    def apply_again(self) -> None:
        for node_id in self.presenter.learning.points._nodes.values():
            node = self.scene.GetNodeByID(node_id)
            if node is not None and node.GetNumberOfControlPoints():
                node.SetNthControlPointPositionWorld(0, self.random.randrange(9), 3.0, 10.0)
                if self.random.random() < 0.2:
                    self.scene.RemoveNode(node)
        self.presenter.learning.apply_again()

    def snap(self) -> None:
        """Snaps a drawn shape, and sometimes draws on while that runs."""
        was, busy = self.presenter.state.snap_reason, self.presenter.state.phase in BUSY
        self.presenter.snap.press()
        if not was and not busy and self.presenter.state.phase in BUSY:
            if self.random.random() < 0.3 and not self.gone():
                self.draw()
            self.rest()
            self.snapped += "is outlined" in self.presenter.state.status
            self.follow_snap()

    # Help

    def follow_snap(self) -> None:
        """A snap, and taking one back, changes the one slice that it was pressed for, and counts as drawn by hand."""
        step, changed = self.logic.step, []
        node = None if step is None or step.what != "snap" else step._segmentation  # perhaps that of an earlier case
        volume = None if node is None else self.scene.GetNodeByID(node.GetAttribute("volume") or "")
        if volume is None:
            return
        for key, mask in self.drawn.items():
            if key[0] == node.GetID() and node.GetSegmentation().GetSegment(key[1]) is not None:
                now = read_mask(node, key[1], volume)[key[2]]
                if not np.array_equal(now, mask):
                    changed.append((key, now))
        assert len(changed) <= 1, f"{[key for key, _ in changed]} have changed after {self.done}"
        self.drawn.update(changed)

    def choose(self, parameters, volume, segmentation, segment_ids) -> None:
        parameters.volume, parameters.segmentation, parameters.segmentIDs = volume, segmentation, segment_ids
        self.presenter.set_parameters(parameters)

    def put(self, segment_id: str, index: int, mask: np.ndarray) -> None:
        if self.segmentation.GetSegmentation().GetSegment(segment_id) is None:
            return
        self.presenter.inputs_changed()
        key = (self.segmentation.GetID(), segment_id, index)
        changed = not np.array_equal(read_mask(self.segmentation, segment_id, self.volume)[index], mask)
        if self.random.random() < 0.7:  # as Segment Editor does before each stroke; its other tools may not
            self.logic.undo.save(self.segmentation, self.volume)
        write_slice(self.segmentation, segment_id, self.volume, 0, index, mask)
        if changed and mask.any():
            self.drawn[key] = mask
        elif changed:
            self.drawn.pop(key, None)

    def forget_drawn(self) -> None:
        self.drawn = {key: mask for key, mask in self.drawn.items() if key[0] != self.segmentation.GetID()}

    def marks(self) -> set[str]:
        """The runs that the segments say are going on."""
        tag, found = vtk.reference(""), set()
        content = self.segmentation.GetSegmentation()
        for n in range(content.GetNumberOfSegments()):
            if content.GetNthSegment(n).GetTag("MedPerSAM.Run", tag):
                found.add(str(tag))
        return found

    def gone(self) -> bool:
        return self.volume.GetScene() is None or self.segmentation.GetScene() is None

    def volume_of(self, segmentation):
        volume = self.scene.GetNodeByID(segmentation.GetAttribute("volume") or "")
        return self.volume if volume is None else volume


@pytest.fixture
def jobs():
    jobs = Jobs()
    yield jobs
    jobs.close()


def test_random_sequences(scene, tmp_path, monkeypatch, jobs):
    monkeypatch.setitem(methods.METHODS, "slow-copy", "slow_method:SlowCopy")
    monkeypatch.setitem(methods.METHODS, "broken", "slow_method:BrokenMethod")
    monkeypatch.setattr(medpersam_logic, "fit_profile", slow_fit)
    monkeypatch.setattr(applied_run, "apply_profile", slow_apply)
    from MedPerSAMLib.mrml import presenter as module
    from MedPerSAMLib.mrml.method_list import MethodRow

    monkeypatch.setattr(module, "method_row", lambda name: MethodRow(name, name, False))
    monkeypatch.setattr(snap, "outline_slice", lambda order, index, shape, *_: Outline(np.roll(shape, 1, axis=1), 0.5))
    ends, runs, profiles, undone, pressed, snapped = [], 0, 0, 0, 0, 0
    for seed in range(SEQUENCES):
        scene.Clear(0)
        logic = MedPerSAMLogic()
        presenter = Presenter(scene, logic, jobs, FakeDependencies(), ModelStore(tmp_path))
        user = User(scene, presenter, logic, seed)
        try:
            for _ in range(LENGTH):
                user.act()
            user.rest()
            user.check_drawn()
            ends.append(presenter.state.phase)
            presenter.discard()
            user.check_drawn()
            assert not logic.pending
            _check_scene(scene, user.exchanged or bool({"press_undo", "press_redo"} & set(user.done)))
            presenter.close(timeout_s=2.0)
            runs += next(logic._numbers) - 1
            profiles += presenter.learning.profile is not None
            undone += user.undone_while_running
            pressed += user.pressed_undo
            snapped += user.snapped
        except Exception as error:
            raise AssertionError(f"sequence {seed}: {user.done}: {error!r}") from error
    # How far a run gets between two actions depends on the machine, and with it how many are started.
    assert runs > SEQUENCES // 2, "too few propagations were started to mean anything"
    print(runs, "runs;", undone, "times Undo in their middle;", {phase: ends.count(phase) for phase in set(ends)})
    assert undone > SEQUENCES // 20, "too seldom Undo fell into a run to mean anything"
    print(pressed, "propagations undone by the panel")
    assert pressed > 0, "the panel's Undo was never possible"
    print(snapped, "shapes snapped")
    assert snapped > SEQUENCES // 20, "too few shapes were snapped to mean anything"
    assert {"finished", "idle"} <= set(ends)
    assert profiles > SEQUENCES // 20, "too few profiles were there to mean anything"


def _check_scene(scene, exchanged: bool) -> None:
    """No run is marked as going on, and nothing temporary is left.

    A state saved in the middle of a run comes back with Undo or Redo, mark and all (``exchanged``); the next run
    replaces the mark.
    """
    found = scene.GetNodesByClass("vtkMRMLSegmentationNode")
    found.UnRegister(None)
    for i in range(found.GetNumberOfItems()):
        content = found.GetItemAsObject(i).GetSegmentation()
        for n in range(content.GetNumberOfSegments()):
            segment = content.GetNthSegment(n)
            assert not segment.GetTag("MedPerSAM.Run", vtk.reference("")) or exchanged
    tables = scene.GetNodesByClass("vtkMRMLTableNode")
    tables.UnRegister(None)
    for i in range(tables.GetNumberOfItems()):
        assert tables.GetItemAsObject(i).GetNumberOfColumns() == 3
    assert scene.GetNumberOfNodesByClass("vtkMRMLLabelMapVolumeNode") == 0
    assert scene.GetNumberOfNodesByClass("vtkMRMLMarkupsFiducialNode") == 0
