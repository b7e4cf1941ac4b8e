"""The self test that users run in Slicer, step by step, here without a window."""

from __future__ import annotations

import pytest
import vtk

from MedPerSAMLib.errors import MedPerSAMError
from MedPerSAMLib.mrml.logic import PropagationLogic
from MedPerSAMLib.mrml.self_test import STEPS, phantom, transforms
from MedPerSAMLib.services.models.store import ModelStore


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_step(scene, step):
    if step is phantom and not ModelStore().state("tiny").ready:
        pytest.skip("the embedded model's weights are not in this tree yet")
    step(PropagationLogic())


@pytest.mark.parametrize("module", ["segment_reader", "segment_writer", "shared_grid"])
def test_a_transform_that_is_left_out_is_noticed(scene, monkeypatch, module):
    """Reading, writing or both as if volume and segmentation stood under the same transform."""
    everywhere = ["segment_reader", "segment_writer", "shared_grid"] if module == "shared_grid" else [module]
    for name in everywhere:
        monkeypatch.setattr(f"MedPerSAMLib.mrml.{name}.transform_between", lambda *_: vtk.vtkTransform())
    if module != "shared_grid":
        for quick_way in ("offset_to", "own_grid"):
            monkeypatch.setattr(f"MedPerSAMLib.mrml.{module}.{quick_way}", lambda *_: None)
    with pytest.raises((AssertionError, MedPerSAMError)):
        transforms(PropagationLogic())


def test_steps_find_what_they_look_for(scene, monkeypatch):
    """A logic that takes nothing back is caught."""
    from MedPerSAMLib.mrml import self_test

    logic = PropagationLogic()
    monkeypatch.setattr(logic, "discard", lambda: 0)
    with pytest.raises(AssertionError, match="Discard left something behind"):
        self_test.discard(logic)
