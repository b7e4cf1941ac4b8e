"""The self test's steps on Slicer's main window, here on stand-ins with the real worker; and what the self test says
where something is not there."""

from __future__ import annotations

import types

import pytest
import sample_data_stand_in
import slicer

pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed")

import qt_stand_ins

from MedPerSAMLib.mrml import self_test, self_test_window
from MedPerSAMLib.mrml.sample_data import register_samples
from MedPerSAMLib.mrml.segment_editor import editor_widget
from MedPerSAMLib.mrml.self_test_window import COMPUTING, EFFECT_NAME, READING, Window, open_window


@pytest.fixture
def window(scene, module, monkeypatch):
    """The module's widget and Segment Editor's, found as in Slicer."""
    editor = editor_widget()
    sample_data_stand_in.install(monkeypatch)
    register_samples("icons")
    panel = module.MedPerSAMWidget()
    panel.setup()
    widgets = {"MedPerSAM": panel, "SegmentEditor": types.SimpleNamespace(editor=editor)}
    selected = []
    monkeypatch.setattr(slicer.util, "selectModule", selected.append)
    monkeypatch.setattr(slicer.util, "getModuleWidget", widgets.get)
    monkeypatch.setattr(slicer.app, "processEvents", lambda: qt_stand_ins.process_events(1), raising=False)
    opened = open_window()
    assert selected == ["SegmentEditor", "MedPerSAM"] and (opened.panel, opened.editor) == (panel, editor)
    yield opened
    panel.cleanup()


@pytest.mark.parametrize("step", READING + COMPUTING, ids=lambda step: step.__name__)
def test_step(window, step):
    step(window)


def test_steps_find_what_they_look_for(window, monkeypatch):
    window.editor.effects.clear()
    with pytest.raises(AssertionError, match="has no effect 'Propagate slice'"):
        self_test_window.registrations(window)
    monkeypatch.setattr(window.editor, "undo", lambda: None)
    with pytest.raises(AssertionError, match="Undo left something behind"):
        self_test_window.editor_undo(window)


def test_a_run_that_does_not_end_is_noticed(window, monkeypatch):
    monkeypatch.setattr(self_test_window, "LIMIT_S", 0.05)
    still = Window(window.panel, window.editor, lambda: None)
    with pytest.raises(AssertionError, match="has not ended after 0 s"):
        self_test_window.panel(still)


def test_the_effect_has_the_name_that_is_looked_for():
    text = (qt_stand_ins.Path(qt_stand_ins.module().__file__).parent).rglob("SegmentEditorMedPerSAMEffect.py")
    assert f'scriptedEffect.name = "{EFFECT_NAME}"' in next(text).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "main_window, missing, ran, words",
    [
        (object(), [], ["read", "look", "compute", "press"], "All steps passed"),
        (None, [], ["read", "compute"], "Without a main window"),
        (object(), ["torch"], ["read", "look"], "torch missing"),
    ],
)
def test_what_cannot_be_tested_is_said(scene, monkeypatch, capsys, main_window, missing, ran, words):
    module, done = qt_stand_ins.module(), []

    def step(name):
        def run(_given):
            done.append(name)

        run.__doc__ = name
        return run

    for part, reading, computing in ((self_test, "read", "compute"), (self_test_window, "look", "press")):
        monkeypatch.setattr(part, "READING", (step(reading),))
        monkeypatch.setattr(part, "COMPUTING", (step(computing),))
    monkeypatch.setattr(self_test_window, "open_window", lambda: None)
    monkeypatch.setattr(slicer.util, "mainWindow", lambda: main_window)
    monkeypatch.setattr(module, "Dependencies", lambda: types.SimpleNamespace(missing=lambda: missing))
    module.MedPerSAMTest().runTest()
    said = capsys.readouterr().out
    assert done == ran and words in said and ("All steps passed" in said) is not bool(missing)
