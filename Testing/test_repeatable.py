"""The switches that make a GPU repeat itself; that it does is printed by ``Testing.benchmarks.devices`` where there is one."""

from __future__ import annotations

import os

import pytest
import torch

from MedPerSAMLib.core.repeatable import repeatable


def switches() -> tuple[bool, bool, bool]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark,
    )


def test_a_gpu_is_asked_for_a_fixed_order_and_left_as_it_was(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")  # a user's own choice stays
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    before = switches()
    with pytest.raises(KeyError), repeatable(torch.device("cuda")):
        assert switches() == (True, True, False)
        raise KeyError
    assert switches() == before
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


def test_a_cpu_needs_none():
    before = switches()
    with repeatable(torch.device("cpu")):
        assert switches() == before
