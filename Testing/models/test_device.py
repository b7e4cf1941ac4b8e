"""Which device is used, and why."""

import pytest
import torch

from MedPerSAMLib.errors import InputError
from MedPerSAMLib.services.models.load import choose_device


def test_cpu():
    assert choose_device("cpu")[0] == "cpu"


def test_auto_says_why(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    device, why = choose_device("auto")
    assert device == "cpu" and "because" in why and why.endswith(".")


def test_auto_says_that_this_torch_has_no_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/nvidia-smi")
    assert "no CUDA support" in choose_device("auto")[1]


def test_a_gpu_that_fails_is_not_used(monkeypatch, sentence):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "zeros", lambda *a, **k: (_ for _ in ()).throw(RuntimeError("no kernel image")))
    assert choose_device("auto")[0] == "cpu" and "no kernel image" in choose_device("auto")[1]
    with pytest.raises(InputError) as error:
        choose_device("cuda")
    assert "no kernel image" in sentence(error)


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_not_there(device, monkeypatch, sentence):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(InputError) as error:
        choose_device(device)
    assert device in sentence(error) and "choose cpu or auto" in sentence(error)


def test_an_unknown_device(sentence):
    with pytest.raises(InputError) as error:
        choose_device("gpu")
    assert "'gpu'" in sentence(error) and "cuda" in sentence(error)
