"""``medpersam fit`` and ``medpersam apply`` from the outside."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from MedPerSAMLib.core.learn.labelled import LabelledVolume
from MedPerSAMLib.core.learn.settings import OF_METHOD, OF_SINGLE, FitSettings
from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.core.task import Volume
from MedPerSAMLib.errors import InputError
from MedPerSAMLib.services.cli import main
from MedPerSAMLib.services.images.grid import Grid
from MedPerSAMLib.services.learning import cli_fit
from MedPerSAMLib.services.learning.applied_slices import AppliedSlices
from MedPerSAMLib.services.learning.pairs import short_names, split_pair
from MedPerSAMLib.services.learning.profile import Label, Profile
from MedPerSAMLib.services.learning.work import FitOrder, fit_profile
from MedPerSAMLib.services.models.load import choose_device
from MedPerSAMLib.services.terminal import TerminalProgress
from Testing.cases import read_array

QUICK = FitSettings(examples=4, steps=4, batch=2, checks=2, most_validation=2, located=2)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    for method in ("autosam-linear", "autosam-cnn", "promise-apm", "unet"):
        monkeypatch.setitem(OF_METHOD, method, QUICK)
        monkeypatch.delitem(OF_SINGLE, method, raising=False)


@pytest.fixture(scope="module")
def organs(sample, tmp_path_factory) -> Path:
    """Every fourth slice of the sample, finished: volume.nrrd, and labels.seg.nrrd with names and colours."""
    folder = tmp_path_factory.mktemp("organs")
    volume, truth, reference = (SimpleITK.ReadImage(str(p)) for p in (sample.volume, sample.truth, sample.reference))
    labels = truth[:, :, ::4]
    for key in reference.GetMetaDataKeys():
        labels.SetMetaData(key, reference.GetMetaData(key))
    SimpleITK.WriteImage(volume[:, :, ::4], str(folder / "volume.nrrd"))
    SimpleITK.WriteImage(labels, str(folder / "labels.seg.nrrd"), useCompression=True)
    return folder


@pytest.fixture(scope="module")
def organs_profile(organs) -> Path:
    """Fitted on the organs in a few steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(OF_METHOD, "autosam-linear", QUICK)
        path = organs / "organs.safetensors"
        curve = organs / "curve.png"
        pair = f"{organs / 'volume.nrrd'}:{organs / 'labels.seg.nrrd'}"
        assert main(["fit", "--method", "autosam-linear", "--train", pair, "-o", str(path), "--curve", str(curve)]) == 0
    return path


@pytest.fixture
def fit(small_case):
    """Call ``fit`` on the small case without a model; returns the exit code."""

    def run(*more: str, output: str = "p.safetensors", train: tuple[str, ...] = ("volume.nrrd:truth.nrrd",)) -> int:
        pairs = [":".join(str(small_case / name) for name in pair.split(":")) for pair in train]
        return main(["fit", "--method", "unet", "--train", *pairs, "-o", str(small_case / output), *more])

    return run


def press_after_a_check(monkeypatch) -> None:
    monkeypatch.setattr(cli_fit.FitProgress, "curve_point", lambda progress, point: signal.raise_signal(signal.SIGINT))


# Fit and apply


def test_apply_does_not_import_the_compiler(organs, organs_profile, tmp_path):
    """Only an optimiser needs it."""
    arguments = ["apply", str(organs_profile), str(organs / "volume.nrrd"), "-o", str(tmp_path / "out.nrrd")]
    code = (
        "import sys; from MedPerSAMLib.services.cli import main; "
        f"assert main({arguments!r}) == 0 and 'torch' in sys.modules; "
        "sys.exit('torch._dynamo is loaded' if 'torch._dynamo' in sys.modules else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_organs_learned_and_found_again(organs, organs_profile, tmp_path, sample, capsys):
    output, report, picture = (tmp_path / name for name in ("out.seg.nrrd", "out.json", "out.png"))
    code = main(
        [
            "apply", str(organs_profile), str(organs / "volume.nrrd"), "-o", str(output), "--report", str(report),
            "--picture", str(picture),
        ]
    )  # fmt: skip
    assert code == 0
    image, volume = SimpleITK.ReadImage(str(output)), SimpleITK.ReadImage(str(organs / "volume.nrrd"))
    reference = SimpleITK.ReadImage(str(sample.reference))
    assert Grid.of(image) == Grid.of(volume)
    for number in range(5):
        for field in ("Name", "Color", "LabelValue"):
            key = f"Segment{number}_{field}"
            assert image.GetMetaData(key) == reference.GetMetaData(key)
    content = json.loads(report.read_text())
    assert content["finished"] and content["plane"] == "axial" and content["model"] == "tiny"
    assert content["method"] == "autosam-linear" and content["trained_on"] == ["volume.nrrd"]
    liver = content["structures"][0]
    assert liver["name"] == "liver" and len(liver["slices"]) == 10
    assert [entry["pixels"] for entry in liver["slices"]] == np.count_nonzero(read_array(output) == 1, (1, 2)).tolist()
    assert all(0 <= entry["confidence"] <= 1 for entry in liver["slices"])
    for path in (picture, organs / "curve.png"):
        assert SimpleITK.ReadImage(str(path)).GetNumberOfComponentsPerPixel() == 3
    out, err = capsys.readouterr()
    assert "liver: " in out and str(output) in out
    assert "\r" not in err, "no rewritten lines where there is no terminal"


def test_the_report_of_a_prompting_method_holds_its_points(organs, tmp_path):
    profile, report = str(tmp_path / "p.safetensors"), tmp_path / "r.json"
    volume, pair = str(organs / "volume.nrrd"), f"{organs / 'volume.nrrd'}:{organs / 'labels.seg.nrrd'}"
    assert main(["fit", "--method", "promise-apm", "--train", pair, "-o", profile]) == 0
    assert main(["apply", profile, volume, "-o", str(tmp_path / "o.nrrd"), "--report", str(report)]) == 0
    slices = [entry for s in json.loads(report.read_text())["structures"] for entry in s["slices"]]
    points = [point for entry in slices for point in entry.get("points", ())]
    assert points and {point["inside"] for point in points} == {True, False}
    assert all(np.isfinite([point["row"], point["column"]]).all() for point in points)
    assert all("points" in entry for entry in slices if entry["present"])


def test_a_profile_says_what_it_is(organs_profile):
    profile = Profile.load(organs_profile)
    assert [label.name for label in profile.labels][:3] == ["liver", "spleen", "right kidney"]
    assert profile.fitted.finished and profile.fitted.steps == 4 and not profile.fitted.training_state
    assert [point.step for point in profile.fitted.curve] == [2, 4]
    assert profile.model == "tiny" and len(profile.model_checksum) == 64
    assert profile.directions == "PL" and profile.fitted.settings["fit"] == dataclasses.asdict(QUICK)


def test_fit_tells_what_it_reached(fit, small_case, capsys):
    assert fit() == 0
    out, err = capsys.readouterr()
    best = max(point.dice for point in Profile.load(small_case / "p.safetensors").fitted.curve)
    assert f"unet for label 1, label 2: validation Dice {best:.3f}" in out
    assert f"profile: {small_case / 'p.safetensors'}" in out
    assert "training (4)" in err and "step 2: training loss" in err and "\r" not in err


def test_label_values_and_planes_are_kept(fit, small_case):
    small_case.write("values.nrrd", np.array([0, 3, 9], np.uint8)[small_case.labels])
    assert fit("--axis", "sagittal", train=("volume.nrrd:values.nrrd",)) == 0
    profile = Profile.load(small_case / "p.safetensors")
    assert profile.axis == 2 and [s.value for s in profile.structures().values()] == [3, 9]
    out, report = str(small_case / "o.nii.gz"), small_case / "r.json"
    volume = str(small_case / "volume.nrrd")
    assert main(["apply", str(small_case / "p.safetensors"), volume, "-o", out, "--report", str(report)]) == 0
    assert read_array(out).shape == small_case.array.shape
    content = json.loads(report.read_text())
    assert content["plane"] == "sagittal" and len(content["structures"][0]["slices"]) == 24
    assert [structure["label"] for structure in content["structures"]] == [3, 9]


def test_validation_cases_and_structures_in_another_order(fit, small_case):
    first = {"Segment0_Name": "a", "Segment0_LabelValue": "1", "Segment1_Name": "b", "Segment1_LabelValue": "2"}
    other = {"Segment0_Name": "b", "Segment0_LabelValue": "7", "Segment1_Name": "a", "Segment1_LabelValue": "4"}
    small_case.write("first.seg.nrrd", small_case.labels, metadata=first)
    small_case.write("other.seg.nrrd", np.array([0, 4, 7], np.uint8)[small_case.labels], metadata=other)
    small_case.write("v2.nrrd", small_case.array + 1)
    pairs = [
        (small_case / volume, small_case / labels)
        for volume, labels in (("volume.nrrd", "first.seg.nrrd"), ("v2.nrrd", "other.seg.nrrd"))
    ]
    from MedPerSAMLib.services.learning.finished_cases import read_cases

    cases = read_cases(pairs[:1], pairs[1:])
    assert np.array_equal(cases.training[0].labels, small_case.labels)
    assert np.array_equal(cases.validation[0].labels, small_case.labels)
    validation = f"{small_case / 'v2.nrrd'}:{small_case / 'other.seg.nrrd'}"
    assert fit("--validation", validation, train=("volume.nrrd:first.seg.nrrd",)) == 0
    assert Profile.load(small_case / "p.safetensors").validated_on == ("v2.nrrd",)


def test_overlapping_structures_are_said(fit, small_case, capsys):
    first, second = (small_case.labels == 1).astype(np.uint8), np.zeros_like(small_case.labels)
    second[:, 8:12, 4:12] = 1
    metadata = {"Segment0_Name": "a", "Segment0_Layer": "0", "Segment1_Name": "b", "Segment1_Layer": "1"}
    small_case.write("two.seg.nrrd", np.stack([first, second], axis=-1), vector=True, metadata=metadata)
    assert fit(train=("volume.nrrd:two.seg.nrrd",)) == 0
    assert f"a and b overlap on {6 * 8} voxels, which count as b" in capsys.readouterr().err


# Stopped and resumed


def test_a_resumed_fit_equals_an_uninterrupted_one(fit, small_case, monkeypatch, capsys):
    assert fit(output="whole.safetensors") == 0
    with monkeypatch.context() as patch:
        press_after_a_check(patch)
        assert fit() == 130
    words = capsys.readouterr().err
    assert "best so far is kept in" in words and "--resume goes on" in words
    stopped = Profile.load(small_case / "p.safetensors")
    assert not stopped.fitted.finished and stopped.fitted.steps == 2
    assert fit("--resume") == 0
    whole, resumed = (Profile.load(small_case / name).fitted for name in ("whole.safetensors", "p.safetensors"))
    assert resumed.finished and resumed.curve == whole.curve
    assert resumed.weights.keys() == whole.weights.keys()
    assert all((resumed.weights[key] == whole.weights[key]).all() for key in whole.weights)


def test_an_unfinished_profile_can_be_applied(fit, small_case, monkeypatch, capsys):
    press_after_a_check(monkeypatch)
    fit()
    profile, volume = (str(small_case / name) for name in ("p.safetensors", "volume.nrrd"))
    assert main(["apply", profile, volume, "-o", str(small_case / "o.nrrd")]) == 0
    assert "stopped before its end" in capsys.readouterr().err


def test_ctrl_c_before_the_first_check_leaves_an_older_profile(fit, small_case, monkeypatch, capsys):
    assert fit() == 0
    before = (small_case / "p.safetensors").read_bytes()

    def pressed(progress, phase, done, total):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(TerminalProgress, "on_step", pressed)
    assert fit("--seed", "1") == 130
    assert "nothing was written" in capsys.readouterr().err
    assert (small_case / "p.safetensors").read_bytes() == before
    assert not list(small_case.folder.glob(".*"))


def test_ctrl_c_keeps_the_slices_that_apply_finished(organs, organs_profile, tmp_path, monkeypatch, capsys):
    taken = AppliedSlices.on_slice

    def pressed(slices, number, index, mask, confidence):
        taken(slices, number, index, mask, confidence)
        if (number, index) == (1, 3):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(AppliedSlices, "on_slice", pressed)
    volume, report = str(organs / "volume.nrrd"), tmp_path / "r.json"
    arguments = ["apply", str(organs_profile), volume, "-o", str(tmp_path / "o.seg.nrrd"), "--report", str(report)]
    assert main(arguments) == 130
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.partial.seg.nrrd", "r.partial.json"]
    content = json.loads((tmp_path / "r.partial.json").read_text())
    assert not content["finished"]
    assert [entry["finished"] for entry in content["structures"][0]["slices"]] == [True] * 8 + [False] * 2
    assert "what was finished is kept" in capsys.readouterr().err


# What is refused


@pytest.fixture
def refused(small_case, capfd):
    """Run a command that must refuse: one sentence, exit code 2, nothing written; returns the sentence."""

    def run(*arguments: str) -> str:
        before = _listing(small_case.folder)
        assert main(list(arguments)) == 2
        out, err = capfd.readouterr()
        # Before a model is refused its device is named.
        *told, sentence = err.strip().splitlines()
        assert out == "" and set(told) <= {"loading model (1)", choose_device()[1]}, err
        assert sentence.startswith("medpersam: ") and sentence.endswith((".", "?"))
        assert _listing(small_case.folder) == before
        return sentence

    return run


@pytest.fixture
def refused_fit(small_case, refused):
    def run(*pairs: str, output: str = "p.safetensors", method: str = "unet", more: tuple[str, ...] = ()) -> str:
        texts = [":".join(str(small_case / name) for name in pair.split(":")) for pair in pairs]
        return refused("fit", "--method", method, "--train", *texts, "-o", str(small_case / output), *more)

    return run


def test_labels_that_differ_in_names(small_case, refused_fit):
    small_case.write("v2.nrrd", small_case.array + 1)
    small_case.write("one.nrrd", (small_case.labels == 1).astype(np.uint8))
    words = refused_fit("volume.nrrd:truth.nrrd", "v2.nrrd:one.nrrd")
    assert "labels of v2.nrrd differ from those of volume.nrrd (label 1, label 2)" in words
    assert "it has no label 2" in words
    words = refused_fit("volume.nrrd:one.nrrd", "v2.nrrd:truth.nrrd")
    assert "it has also label 2" in words


def test_labels_on_another_grid(small_case, refused_fit):
    SimpleITK.WriteImage(small_case.image(small_case.labels)[:-2], str(small_case / "m.nrrd"))
    assert "resample the mask onto the volume's grid" in refused_fit("volume.nrrd:m.nrrd")


def test_labels_without_any_or_nothing_but_one(small_case, refused_fit):
    small_case.write("none.nrrd", np.zeros_like(small_case.labels))
    small_case.write("all.nrrd", np.ones_like(small_case.labels))
    assert "has no labelled voxel" in refused_fit("volume.nrrd:none.nrrd")
    assert "covers every voxel" in refused_fit("volume.nrrd:all.nrrd")


def test_a_structure_that_no_training_case_holds(small_case, refused_fit):
    metadata = {"Segment0_Name": "a", "Segment0_LabelValue": "1", "Segment1_Name": "lost", "Segment1_LabelValue": "5"}
    small_case.write("m.seg.nrrd", small_case.labels, metadata=metadata)
    assert "lost has no voxel in any training case" in refused_fit("volume.nrrd:m.seg.nrrd")


def test_a_label_that_the_fit_does_not_know(small_case):
    case = LabelledVolume(Volume(np.zeros((4, 8, 8), np.float32)), np.full((4, 8, 8), 3, np.uint8), "case 7")
    with pytest.raises(InputError, match="case 7 has a label 3 that the 2 labels of this fit do not know"):
        fit_profile(FitOrder((case,), (Label("a", (1, 0, 0)), Label("b", (0, 1, 0))), method="unet"), Progress())


def test_two_structures_of_one_name(small_case, refused_fit):
    metadata = {"Segment0_Name": "a", "Segment0_LabelValue": "1", "Segment1_Name": "a", "Segment1_LabelValue": "2"}
    small_case.write("m.seg.nrrd", small_case.labels, metadata=metadata)
    assert "several structures called 'a'" in refused_fit("volume.nrrd:m.seg.nrrd")


def test_cases_that_show_the_patient_another_way_up(fit, small_case, refused_fit, refused, capfd):
    for name in ("volume", "truth"):
        image = SimpleITK.ReadImage(str(small_case / f"{name}.nrrd"))
        SimpleITK.WriteImage(SimpleITK.DICOMOrient(image, "RPS"), str(small_case / f"{name}-turned.nrrd"))
    words = refused_fit("volume.nrrd:truth.nrrd", "volume-turned.nrrd:truth-turned.nrrd")
    assert "Rows and columns of volume-turned.nrrd run towards PR, those of volume.nrrd towards PL" in words
    assert fit() == 0
    capfd.readouterr()
    names = ("p.safetensors", "volume-turned.nrrd", "o.nrrd")
    profile, volume, output = (str(small_case / name) for name in names)
    words = refused("apply", profile, volume, "-o", output)
    assert "volume-turned.nrrd run towards PR, those of the profile's cases towards PL" in words


def test_a_case_that_is_given_twice(refused_fit):
    assert "is given twice" in refused_fit("volume.nrrd:truth.nrrd", "volume.nrrd:truth.nrrd")


def test_no_pair_and_no_file(refused_fit):
    assert "is no pair of a volume and its labels" in refused_fit("volume.nrrd")
    assert "There is no file" in refused_fit("nothing.nrrd:truth.nrrd")


def test_unknown_method_suffix_and_folder(refused_fit):
    pair = "volume.nrrd:truth.nrrd"
    assert "did you mean autosam-cnn" in refused_fit(pair, method="autosam-cn")
    assert "does not end in .safetensors" in refused_fit(pair, output="p.pth")
    assert "There is no folder" in refused_fit(pair, output="nowhere/p.safetensors")
    assert "vit-b" in refused_fit(pair, method="autosam-cnn", more=("--model", "vit-b"))


def test_a_file_that_is_no_profile_is_not_overwritten(small_case, refused_fit):
    (small_case / "p.safetensors").write_bytes(b"weights of somebody")
    assert "no intact profile; remove it" in refused_fit("volume.nrrd:truth.nrrd")


def test_nothing_to_resume(fit, small_case, refused_fit, capfd):
    pair, more = "volume.nrrd:truth.nrrd", ("--resume",)
    assert "There is no profile" in refused_fit(pair, more=more)
    fit()
    capfd.readouterr()
    assert "is finished; apply it" in refused_fit(pair, more=more)


def test_another_fit_is_not_resumed(fit, small_case, refused_fit, monkeypatch, capfd):
    press_after_a_check(monkeypatch)
    fit()
    capfd.readouterr()
    words = refused_fit("volume.nrrd:truth.nrrd", more=("--resume", "--seed", "3"))
    assert "was a fit of unet on volume.nrrd with seed 0" in words
    assert "along axis 0" in refused_fit("volume.nrrd:truth.nrrd", more=("--resume", "--axis", "coronal"))
    assert "was a fit of unet" in refused_fit("volume.nrrd:truth.nrrd", method="autosam-linear", more=("--resume",))
    small_case.write("one.nrrd", (small_case.labels == 1).astype(np.uint8))
    assert "for label 1, label 2; ask for the same" in refused_fit("volume.nrrd:one.nrrd", more=("--resume",))


def test_a_profile_of_another_model(small_case, organs_profile, refused):
    profile = Profile.load(organs_profile)
    dataclasses.replace(profile, model_checksum="0" * 64).save(small_case / "p.safetensors")
    words = _refused_apply(small_case, refused)
    assert "was fitted on the model 'tiny' (000000000000) and does not work with 'tiny'" in words
    dataclasses.replace(profile, model="sam-of-ours.pth").save(small_case / "p.safetensors")
    assert "sam-of-ours.pth" in _refused_apply(small_case, refused)


def test_a_damaged_profile(small_case, organs_profile, refused):
    content = organs_profile.read_bytes()
    path = small_case / "p.safetensors"
    path.write_bytes(content[: len(content) // 2])
    assert "is damaged or no profile" in _refused_apply(small_case, refused)
    path.write_bytes(content[:-3] + bytes([content[-3] ^ 64]) + content[-2:])
    assert "its checksum is wrong" in _refused_apply(small_case, refused)
    path.write_bytes(content.replace(b'\\"steps\\": 4', b'\\"steps\\": 5'))
    assert "its checksum is wrong" in _refused_apply(small_case, refused)


def test_other_files_as_profile(small_case, refused):
    from MedPerSAMLib.weights import weights_path

    (small_case / "p.safetensors").write_bytes(weights_path("warp").read_bytes())
    assert "is no MedPerSAM profile" in _refused_apply(small_case, refused)
    (small_case / "p.safetensors").unlink()
    assert "There is no profile" in _refused_apply(small_case, refused)


def test_apply_does_not_write_onto_its_inputs(small_case, organs_profile, refused):
    (small_case / "p.safetensors").write_bytes(organs_profile.read_bytes())
    assert "is an input" in _refused_apply(small_case, refused, output="volume.nrrd")
    assert "suffix" in _refused_apply(small_case, refused, output="o.png")


def _refused_apply(small_case, refused, output: str = "o.nrrd") -> str:
    profile, volume = str(small_case / "p.safetensors"), str(small_case / "volume.nrrd")
    return refused("apply", profile, volume, "-o", str(small_case / output))


# Pairs of the command line


@pytest.mark.parametrize(
    ("text", "volume", "labels"),
    [
        ("a.nii:b.nii", "a.nii", "b.nii"),
        ("C:\\a.nii:C:\\b.nii", "C:\\a.nii", "C:\\b.nii"),
        ("C:\\a.nii:b.nii", "C:\\a.nii", "b.nii"),
        ("a.nii:d:/b.nii", "a.nii", "d:/b.nii"),
    ],
)
def test_pairs(text, volume, labels):
    assert split_pair(text) == (Path(volume), Path(labels))


def test_files_with_colons_are_found(tmp_path):
    for name in ("scan:1.nii", "labels:1.nii"):
        (tmp_path / name).touch()
    volume, labels = tmp_path / "scan:1.nii", tmp_path / "labels:1.nii"
    assert split_pair(f"{volume}:{labels}") == (volume, labels)


def test_cases_are_called_by_as_much_of_their_path_as_tells_them_apart():
    assert short_names([Path("/x/a/image.nii"), Path("/x/b/image.nii")]) == ["a/image.nii", "b/image.nii"]
    assert short_names([Path("/x/a/image.nii")]) == ["image.nii"]


def _listing(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path.relative_to(folder)), path.stat().st_size) for path in folder.rglob("*"))
