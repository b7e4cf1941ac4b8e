"""The self test that users run in Slicer, step by step, here without a window."""

from __future__ import annotations

import pytest

from MedPerSAMLib.mrml.logic import PropagationLogic
from MedPerSAMLib.mrml.self_test import STEPS, phantom
from MedPerSAMLib.services.models.store import ModelStore


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_step(scene, step):
    if step is phantom and not ModelStore().state("tiny").ready:
        pytest.skip("the embedded model's weights are not in this tree yet")
    step(PropagationLogic())


def test_steps_find_what_they_look_for(scene, monkeypatch):
    """A logic that takes nothing back is caught."""
    from MedPerSAMLib.mrml import self_test

    logic = PropagationLogic()
    monkeypatch.setattr(logic, "discard", lambda: 0)
    with pytest.raises(AssertionError, match="Discard left something behind"):
        self_test.discard(logic)
