"""What a method gets before it starts."""

from __future__ import annotations

from pathlib import Path

import pytest

import MedPerSAMLib
from MedPerSAMLib.errors import InputError, ModelError
from MedPerSAMLib.services.equipment import prepare

SHIPPED = Path(MedPerSAMLib.__file__).parent / "weights"


def test_shipped_warp_weights_reach_the_method():
    if not (SHIPPED / "warp.safetensors").is_file():
        pytest.skip("no weights of the warp are shipped yet")
    equipment = prepare("copy", "propagate")
    assert equipment.warp_network is not None and not equipment.notes


def test_without_warp_weights_it_is_said(monkeypatch):
    def missing(name):
        raise FileNotFoundError("they are not here")

    monkeypatch.setattr("MedPerSAMLib.weights.weights_path", missing)
    equipment = prepare("copy", "propagate")
    assert equipment.warp_network is None
    assert equipment.notes == ("The warp's weights are missing: they are not here",)


def test_task_that_the_method_does_not_do(repeating, monkeypatch):
    monkeypatch.setattr("Testing.fakes.Repeating", type("OnlyVolumes", (), {"propagate": None, "needs_model": False}))
    with pytest.raises(InputError, match="does not work on 2D images"):
        prepare("repeating", "transfer")


def test_settings_are_plain():
    assert prepare("copy", "propagate").settings()["reach"] == 1.0


@pytest.mark.parametrize(
    ("model", "device", "words"),
    [
        ("vit-b", "auto", "did you mean vit_b"),
        ("none.pth", "auto", "There is no model file"),
        (None, "gpu", "There is no device 'gpu'"),
        (None, "cuda:99", "cannot be used"),
    ],
)
def test_unknown_model_or_device_is_refused_where_none_is_needed(model, device, words):
    with pytest.raises((InputError, ModelError), match=words):
        prepare("copy", "propagate", model, device)


@pytest.mark.parametrize("model", ["tiny", "vit_b"])
def test_known_model_need_not_be_there_where_none_is_needed(model, monkeypatch, tmp_path):
    monkeypatch.setenv("MEDPERSAM_HOME", str(tmp_path))
    equipment = prepare("copy", "propagate", model, "cpu")
    assert equipment.model is None and equipment.predictor is None
