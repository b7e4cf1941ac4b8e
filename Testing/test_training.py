"""Both trainings stop and go on from where they stopped; what they export carries its whole configuration."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from MedPerSAMLib.core.sam.tiny import TinyConfig, tiny_metadata
from MedPerSAMLib.core.warp.network import load_warp
from MedPerSAMLib.weights import weights_path
from Testing.training import train_tiny, train_warp
from Testing.training.compare import compare, models_of
from Testing.training.curve import draw_curve
from Testing.training.export import CONFIGS, export, read_change

FOR_EVER = 1e12
"""Minutes of a schedule whose learning rate does not move with the clock while a test runs."""


@pytest.fixture(autouse=True)
def without_pictures(monkeypatch):
    """Curves need matplotlib, which the tests' environment may lack; they are noted instead of drawn."""
    for module in (train_tiny, train_warp):
        monkeypatch.setattr(module, "draw_curve", lambda log, picture, **options: picture.write_text("drawn"))


@pytest.fixture
def plain_numbers():
    """A training flushes the smallest numbers to zero; the other tests must not."""
    yield
    torch.set_flush_denormal(False)


def checkpoint(folder: Path) -> dict:
    return torch.load(folder / "checkpoint.pt", weights_only=True)


def records(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def written_config(path: Path) -> dict:
    with safe_open(str(path), framework="pt") as file:
        return json.loads(file.metadata()["config"])


def test_the_warps_training_goes_on_as_if_it_had_not_stopped(tmp_path):
    def train(name: str, steps: int) -> Path:
        train_warp.train(tmp_path / name, FOR_EVER, 1, "cpu", 1, 1, None, steps)
        return tmp_path / name

    whole = train("whole", 3)
    stopped = train("stopped", 2)
    assert checkpoint(stopped)["step"] == 2
    assert (stopped / "curve.png").exists()
    assert records(stopped)[-1]["pairs"] == 4
    resumed = checkpoint(train("stopped", 1))
    assert resumed["step"] == 3
    for key, value in checkpoint(whole)["network"].items():
        torch.testing.assert_close(resumed["network"][key], value, msg=key)
    assert [record["step"] for record in records(stopped)] == [2, 3]
    assert set(records(stopped)[-1]["dice"]) == {"carried", "copied"}
    assert load_warp(stopped / "warp.safetensors").config == load_warp(weights_path("warp")).config


@pytest.mark.usefixtures("plain_numbers")
def test_the_models_training_goes_on_from_its_checkpoint(tmp_path):
    def train(name: str, steps: int) -> Path:
        arguments = f"--warp {weights_path('warp')} --minutes {FOR_EVER} --steps {steps} --device cpu --workers 1"
        small = "--groups 1 --volumes 1 --sets 1 --validation 0 --version 7"
        train_tiny.train(0, train_tiny.read_options([str(tmp_path / name), *arguments.split(), *small.split()]))
        return tmp_path / name

    first = train("first", 2)
    before = checkpoint(first)
    shutil.copytree(first, tmp_path / "again")
    one, two = checkpoint(train("first", 1)), checkpoint(train("again", 1))
    assert (before["step"], one["step"], two["step"]) == (2, 3, 3)
    assert one["seen"] > before["seen"]
    momentum = lambda state: state["optimiser"]["state"][0]
    assert (momentum(before)["step"], momentum(one)["step"]) == (2, 3)
    for key, value in two["model"].items():
        torch.testing.assert_close(one["model"][key], value, msg=key)
    assert any(not torch.equal(one["model"][key], value) for key, value in before["model"].items())
    assert [record["step"] for record in records(first)] == [2, 3]
    assert (first / "curve.png").exists()
    assert written_config(first / "tiny.safetensors")["version"] == 7


@pytest.mark.usefixtures("plain_numbers")
def test_a_frozen_encoder_stays_what_it_was(tmp_path):
    start = weights_path("tiny")
    words = f"{tmp_path} --warp {weights_path('warp')} --start {start} --coarse 0 --frozen-encoder --steps 1 --device cpu"
    more = f"--minutes {FOR_EVER} --workers 1 --groups 1 --volumes 1 --sets 2 --validation 1 --version 7"
    train_tiny.train(0, train_tiny.read_options([*words.split(), *more.split()]))
    before = load_file(start)
    changed = [key for key, value in checkpoint(tmp_path)["model"].items() if not torch.equal(value, before[key].float())]
    assert changed and not [key for key in changed if key.startswith("image_encoder")]
    figures = records(tmp_path)[-1]["validation"]
    assert {"neighbour", "warped"} <= figures.keys() and 0 < figures["neighbour"] <= 1


def test_a_curve_is_drawn_of_either_log(tmp_path):
    pytest.importorskip("matplotlib")
    log, picture = tmp_path / "log.jsonl", tmp_path / "curve.png"
    log.write_text('{"images": 4, "loss": 1.0}\n{"images": 8, "validation": {"box": 0.5}}\n')
    draw_curve(log, picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    log.write_text('{"pairs": 4, "loss": 1.0, "dice": {"carried": 0.5}}\n')
    draw_curve(log, tmp_path / "warp.png", seen="pairs", scores="dice", title="on new generated pairs")
    assert (tmp_path / "warp.png").read_bytes() != picture.read_bytes()


def test_exported_weights_carry_their_whole_configuration(tmp_path):
    source = tmp_path / "source.safetensors"
    shutil.copy(weights_path("warp"), source)
    target = export("warp", source, dict(map(read_change, ["settled=3.5", "passes=6"])), tmp_path)
    assert (load_warp(target).config.settled, load_warp(target).config.passes) == (3.5, 6)
    before, after = load_file(source), load_file(target)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    tripled = tmp_path / "tripled.safetensors"
    save_file({key: 3 * value for key, value in before.items()}, str(tripled))
    for share, factor in ((0.5, 2), (1.5, 0)):
        between = load_file(export("warp", source, {}, tmp_path, earlier=tripled, share=share))
        assert all(torch.allclose(between[key], factor * before[key], rtol=2e-3, atol=2e-3) for key in before)
    with pytest.raises(ValueError, match="no configuration value setled"):
        export("warp", source, {"setled": 5.0}, tmp_path)


@pytest.mark.parametrize("name", ["tiny", "warp"])
def test_shipped_weights_leave_nothing_to_a_default(name):
    assert written_config(weights_path(name)).keys() == asdict(CONFIGS[name]()).keys()


def test_weights_are_compared_on_the_same_generated_images(tmp_path, plain_numbers):
    worse = tmp_path / "worse.safetensors"
    state = load_file(weights_path("tiny"))
    save_file({key: 0.5 * value for key, value in state.items()}, str(worse), tiny_metadata(TinyConfig()))
    files = [weights_path("tiny"), worse]
    first, other, again = compare(models_of(files, [0.0]), [3], 1, "cpu").values()
    assert first == again
    assert first["carried"] == other["carried"]
    assert first["box"] > other["box"]
    assert first["loss"] < other["loss"]
