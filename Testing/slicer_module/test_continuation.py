"""Where corrections go on after a result went into other segments, and what is chosen once that result is gone."""

from __future__ import annotations

import numpy as np
import pytest
import scene as build
import slicer
from learned import case, made_up_profile
from panel_case import Panel
from test_learning_presenter import Section

from MedPerSAMLib.mrml.panel_state import FAILED, FINISHED, IDLE
from MedPerSAMLib.mrml.segment_reader import read_mask, segment_ids
from MedPerSAMLib.mrml.segment_writer import write_slice
from MedPerSAMLib.services.jobs import CANCELLED, SLICE, STEP

NEW = ("new segment", "new segmentation")


@pytest.fixture
def panel(scene, grey, ball, tmp_path):
    """A drawn Liver, and a Kidney, so that the only segment is not checked by itself."""
    panel = Panel(scene, grey, ball, tmp_path)
    panel.segmentation.GetSegmentation().AddEmptySegment("Kidney", "Kidney")
    panel.presenter.inputs_changed()
    return panel


@pytest.fixture
def section(scene, grey, ball, tmp_path):
    """A panel with a profile."""
    section = Section(scene, grey, ball, tmp_path)
    section.learning.profile = made_up_profile()
    return section


def chosen(panel) -> tuple:
    parameters = panel.parameters
    return parameters.target, parameters.segmentation, parameters.segmentIDs


def run_again(panel) -> None:
    """Propagate whichever segment is checked."""
    panel.presenter.press_main()
    panel.jobs.put_result(panel.parameters.segmentIDs[0], panel.ball)
    panel.tick(3)
    assert panel.state.phase == FINISHED


@pytest.mark.parametrize("target", NEW)
def test_corrections_go_on_in_the_result_and_the_target_stays_chosen(panel, scene, target):
    panel.parameters.target, drawn = target, panel.mask()
    panel.run()
    first = chosen(panel)
    assert first[0] == target and first[1:] != (panel.segmentation, ["Liver"])
    segments = segment_ids(first[1])
    run_again(panel)
    assert chosen(panel) == first and segment_ids(first[1]) == segments, "no third one"
    assert np.array_equal(panel.mask(), drawn) and panel.state.can_decide


@pytest.mark.parametrize("target", NEW)
@pytest.mark.parametrize("runs", [1, 2])
def test_discard_chooses_the_drawing_again_and_spares_it_again(panel, target, runs):
    panel.parameters.target, drawn = target, panel.mask()
    panel.run()
    made = panel.parameters.segmentation
    for _ in range(runs - 1):
        run_again(panel)
    panel.presenter.discard()
    assert chosen(panel) == (target, panel.segmentation, ["Liver"]) and panel.state.ready
    assert (made.GetScene() is None) is (target == "new segmentation")
    panel.run()
    assert np.array_equal(panel.mask(), drawn), "the drawing that was to be spared"


@pytest.mark.parametrize("target", ["same segment", *NEW])
def test_another_case_that_was_chosen_meanwhile_stays_chosen(panel, grey, target):
    """The end of a run must not bring the segmentation of the case before beside the volume of the next one."""
    panel.parameters.target = target
    panel.presenter.press_main()
    volume = build.volume_node(grey, (0.8, 0.8, 2.5), (20, 0, 0))
    segmentation = build.segmentation_node(volume, "Liver")
    panel.parameters.volume, panel.parameters.segmentation = volume, segmentation
    panel.presenter.inputs_changed()
    panel.jobs.put_result("Liver", panel.ball)
    panel.tick(3)
    assert panel.state.phase == FINISHED
    assert (panel.parameters.volume, panel.parameters.segmentation) == (volume, segmentation)


def test_a_new_segmentation_that_slicer_chose_by_itself_is_followed_like_any_other(panel):
    panel.parameters.target = "new segmentation"
    panel.presenter.press_main()
    panel.jobs.put(SLICE, ("Liver", 8, panel.ball[8], 0.5))
    panel.tick()
    made = next(iter(panel.logic._previews.values())).target.segmentation
    panel.parameters.segmentation, panel.parameters.segmentIDs = made, []  # as a node list does
    panel.presenter.inputs_changed()
    panel.jobs.put_result("Liver", panel.ball)
    panel.tick(3)
    assert panel.parameters.segmentation is made and len(panel.parameters.segmentIDs) == 1
    panel.presenter.discard()
    assert chosen(panel) == ("new segmentation", panel.segmentation, ["Liver"])


def test_undo_of_a_new_segment_chooses_the_drawing_again(panel):
    panel.parameters.target = "new segment"
    panel.run()
    panel.logic.undo.undo(panel.segmentation)
    panel.presenter.inputs_changed()
    assert chosen(panel) == ("new segment", panel.segmentation, ["Liver"])


def test_deleting_a_new_segmentation_chooses_the_drawing_again(panel, scene):
    panel.parameters.target = "new segmentation"
    panel.run()
    scene.RemoveNode(panel.parameters.segmentation)
    panel.parameters.segmentation = None  # as Slicer's parameter node does
    panel.presenter.inputs_changed()
    assert chosen(panel) == ("new segmentation", panel.segmentation, ["Liver"])


def test_a_corrected_slice_keeps_the_new_segment_chosen(panel):
    panel.parameters.target = "new segment"
    panel.run()
    made = panel.parameters.segmentIDs[0]
    write_slice(panel.segmentation, made, panel.volume, 0, 12, np.roll(panel.ball[12], 2, 1))
    panel.presenter.discard()
    assert chosen(panel) == ("new segment", panel.segmentation, [made]) and "you corrected stays" in panel.state.status


def test_coming_back_from_segment_editor_does_not_fill_the_drawing(scene, grey, ball, tmp_path):
    editor = scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    panel = Panel(scene, grey, ball, tmp_path, editor=lambda: editor)
    editor.SetAndObserveSourceVolumeNode(panel.volume)
    editor.SetAndObserveSegmentationNode(panel.segmentation)
    editor.SetSelectedSegmentID("Liver")
    panel.parameters.target, drawn = "new segmentation", panel.mask()
    panel.run()
    panel.presenter.fill_from_editor()
    assert chosen(panel) == ("new segmentation", panel.segmentation, ["Liver"])
    panel.run()
    assert panel.parameters.segmentation is not panel.segmentation and np.array_equal(panel.mask(), drawn)


def test_another_choice_after_a_result_is_followed(panel, ball):
    panel.parameters.target = "new segment"
    panel.run()
    write_slice(panel.segmentation, "Kidney", panel.volume, 0, 9, ball[9])
    panel.parameters.segmentIDs = ["Kidney"]
    panel.presenter.inputs_changed()
    run_again(panel)
    names = [panel.segmentation.GetSegmentation().GetNthSegment(n).GetName() for n in range(4)]
    assert names == ["Liver", "Kidney", "Liver propagated", "Kidney propagated"]
    panel.presenter.discard()
    assert panel.parameters.segmentIDs == ["Kidney"]


def test_another_target_after_a_result_counts(panel, scene):
    panel.parameters.target = "new segment"
    panel.run()
    panel.parameters.target = "new segmentation"
    run_again(panel)
    assert panel.parameters.segmentation is not panel.segmentation
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 2


@pytest.mark.parametrize("target", NEW)
def test_a_cancelled_run_whose_slices_are_kept_goes_on_there(panel, scene, target):
    panel.parameters.target, panel.parameters.keepFinished = target, True
    panel.presenter.press_main()
    panel.jobs.put(STEP, ("following", 1, 20))
    panel.jobs.put(SLICE, ("Liver", 12, panel.ball[12], 0.7))
    panel.tick()
    panel.presenter.press_main()
    panel.jobs.put(CANCELLED)
    panel.tick()
    kept = chosen(panel)
    assert panel.state.phase == IDLE and kept[1:] != (panel.segmentation, ["Liver"]) and panel.state.can_decide
    there = segment_ids(kept[1])
    run_again(panel)
    assert chosen(panel) == kept and segment_ids(kept[1]) == there
    assert not any("counts as accepted" in line for line in panel.state.log)
    panel.presenter.discard()
    assert chosen(panel) == (target, panel.segmentation, ["Liver"])


@pytest.mark.parametrize("target", NEW)
def test_a_run_cancelled_before_its_first_slice_leaves_no_copy(panel, scene, target):
    panel.parameters.target, panel.parameters.keepFinished = target, True
    panel.presenter.press_main()
    panel.presenter.press_main()
    panel.jobs.put(CANCELLED)
    panel.tick()
    assert segment_ids(panel.segmentation) == ["Liver", "Kidney"] and "nothing was kept" in panel.state.status
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1
    assert chosen(panel) == (target, panel.segmentation, ["Liver"])


def apply_to(section, volume, labels) -> slicer.vtkMRMLSegmentationNode:
    """Apply the profile to another volume, everything else as it is; gives the segmentation of the result."""
    section.parameters.volume = volume
    section.presenter.inputs_changed()
    section.learning.press_apply()
    section.put_applied(labels)
    return section.parameters.segmentation


@pytest.mark.parametrize("target", ["same segment", *NEW])
def test_the_next_case_gets_a_segmentation_of_its_own(section, target):
    (one, _, first), (two, _, second) = case("one", 1, outlined=False), case("two", 3, outlined=False)
    section.parameters.target = target
    section.choose(one, None)
    made = apply_to(section, one, first)
    section.presenter.accept()
    other = apply_to(section, two, second)
    assert section.state.phase == FINISHED and other is not made and section.parameters.target == target
    assert np.array_equal(read_mask(made, "Liver", one), first == 1), "the accepted result of the first case"
    assert np.array_equal(read_mask(other, "Liver", two), second == 1)


@pytest.mark.parametrize("target", ["same segment", "new segment"])
def test_the_segmentation_of_another_case_is_refused(section, target):
    segmentation, two = case("one", 1)[1], case("two", 3, outlined=False)[0]
    section.parameters.target = target
    section.choose(two, segmentation)
    section.learning.press_apply()
    assert section.state.phase == FAILED and not section.jobs.submitted
    assert section.section.status == (
        "one organs was made for one; let the result go into a new segmentation, or choose one of two."
    )
    section.parameters.target = "new segmentation"
    section.learning.press_apply()
    assert section.jobs.submitted, "the remedy works"


def test_applying_again_replaces_what_is_not_decided_on(section, scene):
    one, _, labels = case("one", 1, outlined=False)
    section.parameters.target = "new segmentation"
    section.choose(one, None)
    made = apply_to(section, one, labels)
    assert apply_to(section, one, labels) is made
    section.presenter.accept()
    assert apply_to(section, one, labels) is not made, "what was accepted is spared"
    section.presenter.discard()
    assert section.parameters.segmentation is made


def test_a_new_segment_beside_one_of_the_name_gets_its_own_and_is_applied_to_again(section):
    volume, segmentation, labels = case("one", 1)
    section.parameters.target = "new segment"
    section.choose(volume, segmentation)

    def names() -> list[str]:
        return [segmentation.GetSegmentation().GetSegment(i).GetName() for i in segment_ids(segmentation)]

    finished = {i: read_mask(segmentation, i, volume) for i in segment_ids(segmentation)}
    for shift in (1, 2):
        apply_to(section, volume, np.roll(labels, shift, 2))
        assert section.state.phase == FINISHED and names() == ["Liver", "Spleen", "Liver applied", "Spleen applied"]
        assert segment_ids(segmentation)[2:] == section.parameters.segmentIDs
        for number, segment_id in enumerate(section.parameters.segmentIDs, start=1):
            found = (np.roll(labels, shift, 2) == number) & (labels != 3 - number)  # yields to the other organ alone
            assert np.array_equal(read_mask(segmentation, segment_id, volume), found)
    assert not any("left as they are: Liver applied" in line for line in section.state.log)
    section.presenter.accept()
    apply_to(section, volume, labels)
    assert section.state.phase == FINISHED and names()[4:] == ["Liver applied 2", "Spleen applied 2"]
    section.presenter.discard()
    assert names() == ["Liver", "Spleen", "Liver applied", "Spleen applied"]
    assert all(np.array_equal(read_mask(segmentation, i, volume), mask) for i, mask in finished.items())


def test_propagating_on_another_volume_is_warned_of(panel, grey):
    assert "made for" not in panel.state.found
    panel.parameters.volume = build.volume_node(grey, (0.8, 0.8, 2.5), name="next")
    panel.presenter.inputs_changed()
    assert panel.state.ready and panel.state.found.endswith(
        "Segmentation was made for CT; if next shows another patient, choose its own segmentation."
    )
