"""What is remembered of an application, and for which one."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from MedPerSAMLib.core.frame import Frame
from MedPerSAMLib.core.learn.looked import Looked
from MedPerSAMLib.core.task import Volume
from MedPerSAMLib.services.learning.apply_memory import ApplyMemory
from MedPerSAMLib.services.learning.work import ApplyOrder

LOOKED = Looked(Frame.full((4, 4), (1.0, 1.0), 8))


def order(value: float = 0.0, **changes) -> ApplyOrder:
    volume = Volume(np.full((2, 4, 4), value, np.float32))
    return ApplyOrder(
        SimpleNamespace(fitted=order), volume, "cpu", moved=changes.pop("moved", {(1, 0): "points"}), **changes
    )


def test_the_same_application_with_moved_points_is_known():
    memory = ApplyMemory()
    memory.keep(order(moved={}), LOOKED)
    assert memory.known(order()) is LOOKED
    assert memory.known(order(moved={})) is None, "nothing was moved, so it is done anew"


@pytest.mark.parametrize(
    "other",
    [
        order(1.0),
        order(model="x.pth"),
        replace(order(), device="cuda"),
        replace(order(), profile=SimpleNamespace(fitted=object())),
    ],
)
def test_another_one_is_not(other):
    memory = ApplyMemory()
    memory.keep(order(moved={}), LOOKED)
    assert memory.known(other) is None


def test_it_forgets():
    memory = ApplyMemory()
    memory.keep(order(moved={}), LOOKED)
    memory.clear()
    assert memory.known(order()) is None
    memory.keep(order(moved={}), LOOKED)
    memory.keep(order(1.0, moved={}), None)
    assert memory.known(order()) is None, "only the last application is remembered"
