"""Fixtures on real MRML nodes, from the ``slicer-core`` wheel; skipped as a whole where it is not installed.

This folder must not be called ``slicer``: the wheel's package takes every folder of that name on the path for a part of
itself.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("slicer", reason="the slicer-core wheel is not installed")
sys.path.insert(0, str(Path(__file__).parent))

import scene as slicer_scene


@pytest.fixture
def scene():
    """An empty scene."""
    return slicer_scene.clear()


@pytest.fixture
def ball() -> np.ndarray:
    """(20, 24, 28) bool: an ellipsoid off the centre, so that flips and shifts show."""
    k, j, i = np.mgrid[:20, :24, :28]
    return ((k - 9) / 6) ** 2 + ((j - 10) / 7) ** 2 + ((i - 15) / 8) ** 2 < 1


@pytest.fixture
def grey(ball) -> np.ndarray:
    """(20, 24, 28) int16 voxels that show the ball, with a little noise."""
    noise = np.random.default_rng(0).normal(0, 8, ball.shape)
    return (100 * ball + noise).astype(np.int16)


@pytest.fixture
def module(scene, tmp_path, monkeypatch):
    """MedPerSAM.py on stand-ins, with a fresh parameter node and no models but the embedded one."""
    pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed")
    import qt_stand_ins
    import segment_editor_stand_in

    segment_editor_stand_in.install()
    monkeypatch.setenv("MEDPERSAM_HOME", str(tmp_path))
    kept = scene.GetSingletonNode("MedPerSAM", "vtkMRMLScriptedModuleNode")
    if kept is not None:
        scene.RemoveNode(kept)
    return qt_stand_ins.module()
