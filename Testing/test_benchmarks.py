"""The benchmarks at the smallest size: what they run, not how long it takes."""

from __future__ import annotations

import numpy as np
import SimpleITK

from MedPerSAMLib.sample.phantom import Settings
from Testing.benchmarks import commands, devices, model

SMALL = Settings(shape=(16, 64, 80), spacing=(10.0, 4.0, 4.0))


def labelled_slices(path) -> int:
    return int(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))).any(axis=(1, 2)).sum())


def test_a_finished_case_keeps_its_label_and_a_reference_one_slice_of_it(tmp_path):
    _, reference = commands.write_case(tmp_path / "reference", SMALL, commands.ONE)
    _, labels = commands.write_case(tmp_path / "finished", SMALL, commands.ONE, whole=True)
    assert (labelled_slices(reference), labelled_slices(labels)) == (1, 10)


def test_learning_is_timed_by_a_fit_and_an_apply_of_its_profile(tmp_path, monkeypatch, capsys):
    ran = []
    monkeypatch.setattr(commands, "THIN", SMALL)
    monkeypatch.setattr(commands, "measure", lambda command: ran.append(command) or commands.Measured(32.0, 1.5, "[16.0, 8.0]"))
    commands.measure_learning(tmp_path / "learning", None, "cpu")
    (*_, fit, _, pair, _, profile, _, method, _, _), applied, twice = ran
    assert (fit, method) == ("fit", "autosam-cnn")
    assert applied[2:5] == ["apply", profile, pair.split(":")[0]]
    assert twice[1:] == [commands.APPLY_TWICE, profile, pair.split(":")[0], "cpu"]
    rows = capsys.readouterr().out.splitlines()
    assert [row.split()[-3:] for row in rows[:2]] == [["32.0", "2.00", "1.50"]] * 2
    assert "16.0     1.00" in rows[2] and "8.0     0.50" in rows[3]


def test_demons_are_timed_beside_the_warp_on_the_same_pairs(monkeypatch):
    seen = []
    monkeypatch.setattr(model, "BATCH", 2)
    monkeypatch.setattr(model, "carry_by_demons", lambda *pair: seen.append([part.shape for part in pair]))
    found = model.carrying_rows(1)
    assert found.keys() == {model.WARP, model.DEMONS}
    assert found[model.WARP] > 0
    assert seen == [[(128, 128)] * 3] * 4
    assert model.ITERATIONS == 40


def test_a_row_gives_seconds_a_slice(capsys):
    commands.print_row("segment", 32.0, 16, None, "45 s")
    assert capsys.readouterr().out.split() == ["segment", "32.0", "2.00", "-", "45", "s"]


def test_devices_are_compared_side_by_side(capsys):
    truth = np.zeros((2, 4, 4), bool)
    truth[:, 1:3] = True
    drawn = iter([truth, truth, truth, ~truth])
    seconds = {"cpu": [2.0], "cuda": [0.5]}
    devices.compare("work", lambda device: devices.Outcome(seconds[device], [next(drawn)], [truth]), ["cpu", "cuda"])
    cpu, cuda = capsys.readouterr().out.splitlines()
    assert "Dice 1.000" in cpu and "repeats itself" in cpu and "ratio 1.000" in cpu
    assert "Dice 0.000" in cuda and "DIFFERS" in cuda and "ratio 0.250" in cuda and "agrees with cpu 0.000" in cuda
