"""What the module does once Slicer has started: it registers the effect and the samples, one whatever the other does."""

from __future__ import annotations

import sys
import types
from typing import ClassVar

import pytest

pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed")

import qt_stand_ins
import sample_data_stand_in

from MedPerSAMLib.mrml.sample_data import SAMPLE_NAME


class ScriptedEffect:
    """STAND-IN for qSlicerSegmentEditorScriptedEffect, as far as a registration goes."""

    registered: ClassVar[list[str]] = []

    def __init__(self, parent) -> None:
        assert parent is None

    def setPythonSource(self, path: str) -> None:
        self._path = path

    def self(self):
        return types.SimpleNamespace(register=lambda: self.registered.append(self._path))


@pytest.fixture
def slicer_module(scene, monkeypatch):
    """The module, created while Slicer starts; with what was registered with Sample Data."""
    sources = sample_data_stand_in.install(monkeypatch)
    effects = types.ModuleType("qSlicerSegmentationsEditorEffectsPythonQt")
    effects.qSlicerSegmentEditorScriptedEffect = ScriptedEffect
    monkeypatch.setitem(sys.modules, effects.__name__, effects)
    monkeypatch.setattr(ScriptedEffect, "registered", [])
    medpersam = qt_stand_ins.module()
    module = medpersam.MedPerSAM(types.SimpleNamespace())
    signal, slot = medpersam.slicer.app.connected.pop()
    assert signal == "startupCompleted()" and slot == module._on_startup
    return module, sources, monkeypatch


def test_effect_and_samples_are_registered(slicer_module):
    module, sources, _ = slicer_module
    module._on_startup()
    (path,) = ScriptedEffect.registered
    assert path.endswith("MedPerSAMEffects/SegmentEditorMedPerSAMEffect.py")
    assert SAMPLE_NAME in [source.sampleName for source in sources["MedPerSAM"]]


def test_samples_that_fail_leave_the_effect(slicer_module, caplog):
    module, _, monkeypatch = slicer_module
    monkeypatch.setitem(sys.modules, "SampleData", None)
    module._on_startup()
    assert len(ScriptedEffect.registered) == 1 and "could not register" in caplog.text


def test_an_effect_that_fails_leaves_the_samples(slicer_module, caplog):
    module, sources, monkeypatch = slicer_module
    monkeypatch.setitem(sys.modules, "qSlicerSegmentationsEditorEffectsPythonQt", None)
    module._on_startup()
    assert len(sources["MedPerSAM"]) == 3 and "SegmentEditorMedPerSAMEffect.py" in caplog.text
