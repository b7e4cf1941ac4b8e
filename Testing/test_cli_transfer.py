"""``medpersam transfer`` from the outside."""

from __future__ import annotations

import dataclasses
import json
import re
import signal
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from MedPerSAMLib.services.cli import main
from MedPerSAMLib.services.cli_transfer import output_names
from Testing.cases import read_array
from Testing.test_cli_segment import contents, disk_full_after


@pytest.fixture
def pictures(tmp_path):
    random = np.random.default_rng(2)
    for name, shape in (("a", (30, 40, 3)), ("b", (24, 36)), ("c", (50, 20, 3))):
        array = random.integers(0, 255, shape).astype(np.uint8)
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array, isVector=len(shape) == 3), str(tmp_path / f"{name}.png"))
    mask = np.zeros((30, 40), np.uint8)
    mask[5:15, 5:15], mask[20:28, 20:35] = 1, 2
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(mask), str(tmp_path / "mask.png"))
    return tmp_path


def transfer(folder, *more: str, mask: str = "mask.png", targets: tuple[str, ...] = ("b.png", "c.png")) -> int:
    return main(
        [
            "transfer", "--reference-image", str(folder / "a.png"), "--reference-mask", str(folder / mask),
            "-o", str(folder / "out"), *(str(folder / t) for t in targets), "--method", "copy", *more,
        ]
    )  # fmt: skip


def test_masks_have_their_images_size(pictures, capsys):
    assert transfer(pictures, "--report", str(pictures / "r.json"), "--picture", str(pictures / "p.png")) == 0
    assert read_array(pictures / "out" / "b-mask.png").shape == (24, 36)
    assert set(np.unique(read_array(pictures / "out" / "c-mask.png"))) == {0, 1, 2}
    report = json.loads((pictures / "r.json").read_text())
    assert [entry["target"][-5:] for entry in report["targets"]] == ["b.png", "c.png"]
    assert (pictures / "p.png").stat().st_size > 1000
    assert "b-mask.png" in capsys.readouterr().out


def test_names_tell_targets_apart():
    assert output_names(["x/1/image.png", "x/2/image.png"]) == ["1-image", "2-image"]
    assert output_names(["x/a.png", "x/b.png"]) == ["a", "b"]
    assert output_names(["x/a.png", "x/a.jpg"]) == ["a-png", "a-jpg"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda f: _write_mask(f, np.zeros((30, 40))), "is empty"),
        (lambda f: _write_mask(f, np.ones((20, 40))), "40 x 20 pixels, its image 40 x 30"),
        (lambda f: _write_mask(f, np.eye(30, 40) * (np.arange(40) == 3)), "only 1 pixel "),
        (lambda f: _write_mask(f, np.arange(1200).reshape(30, 40) % 200), "200 different values|199 different values"),
    ],
)
def test_bad_masks(pictures, make, words, capsys):
    make(pictures)
    assert transfer(pictures, mask="bad.png") == 2
    err = capsys.readouterr().err
    assert len(err.strip().splitlines()) == 1
    assert re.search(words, err)
    assert not (pictures / "out").exists()


def test_volume_as_target(pictures, capsys):
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.random.rand(4, 5, 6)), str(pictures / "v.nrrd"))
    assert transfer(pictures, targets=("v.nrrd",)) == 2
    assert "medpersam segment" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["v.jpg", "v.bmp", "v.tif"])
@pytest.mark.parametrize("share", [0.5, 0.98])
@pytest.mark.parametrize("place", ["target", "mask"])
def test_truncated_pictures(pictures, name, share, place, capfd):
    array = np.random.default_rng(3).integers(0, 255, (30, 40)).astype(np.uint8)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(pictures / name))
    path = pictures / name
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    given = {"targets": ("b.png", name)} if place == "target" else {"mask": name}
    assert transfer(pictures, **given) == 2
    err = capfd.readouterr().err
    assert len(err.strip().splitlines()) == 1 and f"{path} is truncated" in err and "copy or export" in err
    assert not (pictures / "out").exists()


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize(("size", "failing"), [(400, "r.json"), (20_000, "p.png")])
def test_disk_full_behind_the_masks_leaves_nothing(pictures, older, size, failing, capfd):
    if older:
        (pictures / "out").mkdir()
        for name in ("b-mask.png", "r.json", "other.txt"):
            (pictures / "out" / name).write_text(f"older {name}")
    before = contents(pictures)
    more = ("--report", str(pictures / "out" / "r.json"), "--picture", str(pictures / "out" / "p.png"))
    with disk_full_after(size):
        assert transfer(pictures, *more) == 2
    out, err = capfd.readouterr()
    assert out == "" and str(pictures / "out" / failing) in err.strip().splitlines()[-1]
    assert contents(pictures) == before
    assert transfer(pictures, *more) == 0
    written = {path.name for path in (pictures / "out").iterdir()} - {"other.txt"}
    assert written == {"b-mask.png", "c-mask.png", "r.json", "p.png"}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--report", "out/folder"), "out/folder is a folder"),
        (("--picture", "out/nowhere/p.png"), "There is no folder"),
        (("--picture", "out/../out/b-mask.png"), "name the same file"),
        (("--report", "out/r", "--picture", "out/r"), "name the same file"),
        (("--picture", "b.png"), "b.png is an input"),
        (("--output", "."), "b-mask.png is an input"),
        (("--output", "a.png"), "is a file; name a folder"),
        (("--output", "a.png/deeper"), "is a file; name a folder"),
    ],
)
def test_outputs_are_checked_before_any_work(pictures, monkeypatch, more, words, capsys):
    def work(*arguments):
        raise AssertionError("the work has begun")

    monkeypatch.setattr("MedPerSAMLib.services.cli_transfer.prepare", work)
    monkeypatch.chdir(pictures)
    (pictures / "mask.png").rename(pictures / "b-mask.png")
    if "out/folder" in more:
        (pictures / "out" / "folder").mkdir(parents=True)
    before = contents(pictures)
    assert transfer(pictures, *more, mask="b-mask.png") == 2
    assert words in capsys.readouterr().err
    assert contents(pictures) == before


def _pressing(monkeypatch, after: int) -> None:
    """Ctrl-C is pressed while ``copy`` works on the target with this number, counted over all structures."""
    from MedPerSAMLib.core.methods import copy_reference

    resized, calls = copy_reference._resized, []

    def counting(mask, shape):
        calls.append(shape)
        if len(calls) == after:
            signal.raise_signal(signal.SIGINT)
        return resized(mask, shape)

    monkeypatch.setattr(copy_reference, "_resized", counting)


def test_ctrl_c_keeps_every_finished_target(pictures, monkeypatch, capsys):
    _pressing(monkeypatch, after=3)  # both targets of label 1, the first of label 2
    more = ("--report", str(pictures / "r.json"), "--picture", str(pictures / "p.png"))
    before = set(contents(pictures))
    assert transfer(pictures, *more) == 130
    written = {Path(path).name for path in set(contents(pictures)) - before}
    assert written == {"out", "b-mask.partial.png", "c-mask.partial.png", "r.partial.json", "p.partial.png"}
    assert set(np.unique(read_array(pictures / "out" / "b-mask.partial.png"))) == {0, 1, 2}
    assert set(np.unique(read_array(pictures / "out" / "c-mask.partial.png"))) == {0, 1}
    report = json.loads((pictures / "r.partial.json").read_text())
    assert not report["finished"] and report["missing"] == {"label 2": ["c"]}
    assert [sorted(entry["structures"]) for entry in report["targets"]] == [["label 1", "label 2"], ["label 1"]]
    assert "missing are label 2 on c." in capsys.readouterr().err


def test_ctrl_c_within_the_first_structure(pictures, monkeypatch, capsys):
    _pressing(monkeypatch, after=1)
    assert transfer(pictures) == 130
    assert [path.name for path in (pictures / "out").iterdir()] == ["b-mask.partial.png"]
    assert "missing are label 1 on c; label 2 on b, c." in capsys.readouterr().err


def test_ctrl_c_before_the_first_target_writes_nothing(pictures, monkeypatch, capsys):
    def pressed_at_once(self, session, progress):
        signal.raise_signal(signal.SIGINT)
        progress.step("starting", 0, 1)

    monkeypatch.setattr("MedPerSAMLib.core.methods.copy_reference.CopyReference.transfer", pressed_at_once)
    assert transfer(pictures) == 130
    assert "nothing was written" in capsys.readouterr().err
    assert not (pictures / "out").exists()


@pytest.mark.parametrize(("times", "code"), [(1, 0), (2, 130)])
def test_ctrl_c_while_results_are_written(pictures, monkeypatch, times, code, capsys):
    """Once lets it finish, for everything is there; twice leaves nothing."""
    from MedPerSAMLib.services.images import picture_file

    write = picture_file.write_picture_mask

    def pressed(path, labels):
        write(path, labels)
        if "b-mask" in path.name:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(picture_file, "write_picture_mask", pressed)
    before = contents(pictures)
    assert transfer(pictures) == code
    if code:
        assert contents(pictures) == before
        assert "nothing was written" in capsys.readouterr().err
    else:
        assert sorted(path.name for path in (pictures / "out").iterdir()) == ["b-mask.png", "c-mask.png"]


@pytest.mark.parametrize("name", ["copy", "persam", "med-persam"])
def test_every_method_hands_over_each_finished_target(name, sample_volume, sample_labels):
    from MedPerSAMLib.core.methods import method_class
    from MedPerSAMLib.core.methods.med_persam import MedPerSAM, Settings
    from MedPerSAMLib.core.progress import CallbackProgress
    from MedPerSAMLib.core.session import ImageSession
    from MedPerSAMLib.core.warp.network import load_warp
    from MedPerSAMLib.services.models.load import load_predictor
    from MedPerSAMLib.weights import weights_path

    method, predictor, told = method_class(name)(), None, {}
    if name == "persam":
        predictor = load_predictor("tiny", "cpu").predictor
    if name == "med-persam":
        carry = Settings().carry
        quick = dataclasses.replace(carry, look=dataclasses.replace(carry.look, steps=5))
        method = MedPerSAM(Settings(sam=False, carry=quick))
    listener = CallbackProgress(on_slice=lambda number, mask, confidence: told.update({number: (mask, confidence)}))
    image, mask = sample_volume.array[21, ::2, ::2], sample_labels[21, ::2, ::2] == 1
    targets = [sample_volume.array[k, ::2, ::2] for k in (20, 23)]
    results = method.transfer(ImageSession(image, mask, targets, predictor, load_warp(weights_path("warp"))), listener)
    assert list(told) == [0, 1]
    for (told_mask, confidence), result in zip(told.values(), results, strict=True):
        assert np.array_equal(told_mask, result.mask) and confidence == result.confidence


def _write_mask(folder, array):
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array.astype(np.uint8)), str(folder / "bad.png"))
