"""``medpersam transfer`` from the outside."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK

from MedPerSAMLib.services.cli import main
from MedPerSAMLib.services.cli_transfer import output_names
from Testing.cases import read_array


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
        (lambda f: _write_mask(f, np.eye(30, 40) * (np.arange(40) == 3)), "only 1 pixels"),
        (lambda f: _write_mask(f, np.arange(1200).reshape(30, 40) % 200), "200 different values|199 different values"),
    ],
)
def test_bad_masks(pictures, make, words, capsys):
    make(pictures)
    assert transfer(pictures, mask="bad.png") == 2
    err = capsys.readouterr().err
    assert len(err.strip().splitlines()) == 1
    import re

    assert re.search(words, err)
    assert not (pictures / "out").exists()


def test_volume_as_target(pictures, capsys):
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.random.rand(4, 5, 6)), str(pictures / "v.nrrd"))
    assert transfer(pictures, targets=("v.nrrd",)) == 2
    assert "medpersam segment" in capsys.readouterr().err


def _write_mask(folder, array):
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array.astype(np.uint8)), str(folder / "bad.png"))
