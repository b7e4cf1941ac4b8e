"""``medpersam segment`` from the outside."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from MedPerSAMLib.services.cli import main
from MedPerSAMLib.services.images.grid import Grid
from Testing.cases import read_array


def segment(case, *more: str, output: str = "out.nrrd", reference: str = "reference.nrrd", method: str = "repeating") -> int:
    return main(
        [
            "segment", str(case / "volume.nrrd"), "--reference", str(case / reference), "-o", str(case / output),
            "--method", method, *more,
        ]
    )  # fmt: skip


@contextlib.contextmanager
def disk_full_after(size: int) -> Iterator[None]:
    """No file gets larger than ``size`` bytes: the system refuses to write more, in the calls where a full disk would."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, and every folder as a file without content."""
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


def test_sample_with_copy(sample, tmp_path, sample_labels, capsys):
    output, report, picture = (tmp_path / name for name in ("out.seg.nrrd", "out.json", "out.png"))
    code = main(
        [
            "segment", str(sample.volume), "--reference", str(sample.reference), "-o", str(output), "--method", "copy",
            "--report", str(report), "--picture", str(picture),
        ]
    )  # fmt: skip
    assert code == 0
    result = read_array(output)
    assert result.dtype == np.uint8
    assert np.array_equal(result[21], sample_labels[21]), "the annotated slice is exactly as annotated"
    assert all(np.array_equal(plane, sample_labels[21]) for plane in result)
    image = SimpleITK.ReadImage(str(output))
    volume = SimpleITK.ReadImage(str(sample.volume))
    assert Grid.of(image) == Grid.of(volume)
    assert image.GetMetaData("Segment2_Name") == "right kidney"
    content = json.loads(report.read_text())
    assert content["method"] == "copy" and content["finished"] and content["plane"] == "axial"
    liver = content["structures"][0]
    assert liver["name"] == "liver" and liver["annotated_slices"] == [21]
    assert len(liver["slices"]) == 40 and liver["slices"][21]["confidence"] == 1
    assert SimpleITK.ReadImage(str(picture)).GetNumberOfComponentsPerPixel() == 3
    out, err = capsys.readouterr()
    assert "liver: annotated on slice 21" in out and str(output) in out
    assert "\r" not in err, "no rewritten lines where there is no terminal"


def test_rough_shapes_are_outlined_first(sample, tmp_path, sample_labels, capsys):
    """Rectangles in the annotations' place: the annotated slice of the result holds the organs."""
    rough = np.zeros_like(sample_labels)
    for value in (1, 2, 3):
        rows, columns = np.nonzero((sample_labels[21] == value).any(1))[0], np.nonzero((sample_labels[21] == value).any(0))[0]
        rough[21, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = value
    shapes = SimpleITK.GetImageFromArray(rough)
    shapes.CopyInformation(SimpleITK.ReadImage(str(sample.volume)))
    SimpleITK.WriteImage(shapes, str(tmp_path / "rough.nrrd"))
    words = ["segment", str(sample.volume), "--reference", str(tmp_path / "rough.nrrd"), "-o", str(tmp_path / "out.nrrd")]
    report = tmp_path / "out.json"
    assert main([*words, "--snap", "--range", "21:21", "--device", "cpu", "--report", str(report)]) == 0
    result = read_array(tmp_path / "out.nrrd")[21]
    for value in (1, 2, 3):
        organ, found, drawn = sample_labels[21] == value, result == value, rough[21] == value
        dice = 2 * (organ & found).sum() / (organ.sum() + found.sum())
        assert dice > max(0.85, 2 * (organ & drawn).sum() / (organ.sum() + drawn.sum()))
    content = json.loads(report.read_text())
    assert content["snapped"] and any("SAM found in the drawn shapes" in note for note in content["notes"])
    assert main([*words, "--snap", "--method", "copy"]) == 2
    assert "--snap asks SAM, which the method 'copy' does without" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".mha", ".nrrd", ".seg.nrrd"])
def test_formats(small_case, repeating, suffix):
    assert segment(small_case, output=f"out{suffix}") == 0
    assert np.array_equal(read_array(small_case / f"out{suffix}")[2], small_case.reference[2])


def test_structures_share_one_session(small_case, repeating):
    segment(small_case)
    assert len(repeating.sessions) == 2 and repeating.sessions[0] is repeating.sessions[1]


@pytest.mark.parametrize("axis", [1, 2])
def test_other_axes(small_case, repeating, axis):
    reference = np.zeros_like(small_case.labels)
    index = (slice(None),) * axis + (7 if axis == 1 else 10,)
    reference[index] = small_case.labels[index] == 1
    small_case.write("other.nrrd", reference)
    assert segment(small_case, "--report", str(small_case / "r.json"), reference="other.nrrd") == 0
    result = read_array(small_case / "out.nrrd")
    assert np.array_equal(result[index], reference[index])
    assert all(np.array_equal(result.take(k, axis), reference[index]) for k in range(result.shape[axis]))
    assert json.loads((small_case / "r.json").read_text())["plane"] == {1: "coronal", 2: "sagittal"}[axis]


def test_overlap_goes_to_the_annotated_then_to_the_nearer_one(small_case, repeating):
    """Label 2 is annotated on slice 4 only, label 1 on slice 2 only; where repeated they overlap."""
    reference = np.zeros_like(small_case.labels)
    reference[2, 3:9, 4:12] = 1
    reference[4, 6:15, 8:20] = 2
    small_case.write("reference.nrrd", reference)
    repeating.confidence.update({"label 1": 0.3, "label 2": 0.6})
    assert segment(small_case, "--report", str(small_case / "r.json")) == 0
    result = read_array(small_case / "out.nrrd")
    assert np.array_equal(result[2] == 1, reference[2] == 1)
    assert np.array_equal(result[4] == 2, reference[4] == 2)
    assert result[1, 7, 9] == 1, "whatever it is confident of"
    assert result[5, 7, 9] == 2
    assert result[0, 4, 5] == 1
    first = json.loads((small_case / "r.json").read_text())["structures"][0]["slices"]
    assert [entry["pixels"] for entry in first] == [np.count_nonzero(plane == 1) for plane in result]


def test_overlapping_annotations_need_layers(small_case, repeating, capsys):
    first, second = np.zeros_like(small_case.labels), np.zeros_like(small_case.labels)
    first[2, 3:9, 4:12], second[2, 6:15, 8:20] = 1, 1
    metadata = {"Segment0_Name": "a", "Segment0_Layer": "0", "Segment1_Name": "b", "Segment1_Layer": "1"}
    small_case.write("two.seg.nrrd", np.stack([first, second], axis=-1), vector=True, metadata=metadata)
    assert segment(small_case, reference="two.seg.nrrd") == 2
    assert "overlap on the annotated slice 2" in capsys.readouterr().err
    assert segment(small_case, reference="two.seg.nrrd", output="out.seg.nrrd") == 0
    result = read_array(small_case / "out.seg.nrrd")
    assert np.array_equal(result[2, ..., 0] > 0, first[2] > 0)
    assert np.array_equal(result[2, ..., 1] > 0, second[2] > 0)


def test_range_includes_both_ends(small_case, repeating):
    assert segment(small_case, "--range", "1:3") == 0
    assert np.flatnonzero(read_array(small_case / "out.nrrd").any(axis=(1, 2))).tolist() == [1, 2, 3]


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize(("size", "failing"), [(1000, "r.json"), (5000, "p.png")])
def test_disk_full_behind_the_segmentation_leaves_nothing(small_case, repeating, capfd, older, size, failing):
    names = ("out.nrrd", "r.json", "p.png")
    for name in names if older else ():
        (small_case / name).write_text(f"older {name}")
    before = contents(small_case.folder)
    more = ("--report", str(small_case / "r.json"), "--picture", str(small_case / "p.png"))
    with disk_full_after(size):
        assert segment(small_case, *more) == 2
    out, err = capfd.readouterr()
    assert out == "" and str(small_case / failing) in err.strip().splitlines()[-1]
    assert contents(small_case.folder) == before
    assert segment(small_case, *more) == 0
    assert {Path(name).name for name in contents(small_case.folder)} == {Path(name).name for name in before} | {*names}
    assert not any((small_case / name).read_bytes().startswith(b"older") for name in names)


def test_ctrl_c_keeps_what_is_finished(small_case, repeating, capsys):
    repeating.interrupt_after = 9  # six slices of label 1, three of label 2
    before = set(contents(small_case.folder))
    more = ("--report", str(small_case / "r.json"), "--picture", str(small_case / "p.v2.png"))
    assert segment(small_case, *more, output="out.nii.gz") == 130
    written = {Path(path).name for path in set(contents(small_case.folder)) - before}
    assert written == {"out.partial.nii.gz", "r.partial.json", "p.v2.partial.png"}
    result = read_array(small_case / "out.partial.nii.gz")
    assert [np.count_nonzero((plane == 1).any()) for plane in result] == [1] * 6
    assert np.flatnonzero((result == 2).any(axis=(1, 2))).tolist() == [0, 1, 2]
    assert not json.loads((small_case / "r.partial.json").read_text())["finished"]
    out, err = capsys.readouterr()
    assert "Stopped during structure 2 of 2" in err
    assert "r.partial.json" in out and "p.v2.partial.png" in out


def test_ctrl_c_before_the_first_slice_writes_nothing(small_case, repeating, monkeypatch, capsys):
    def pressed_at_once(self, session, reference, progress, slices=None):
        signal.raise_signal(signal.SIGINT)
        progress.step("starting", 0, 1)

    monkeypatch.setattr(repeating, "propagate", pressed_at_once)
    assert segment(small_case) == 130
    assert "nothing was written" in capsys.readouterr().err
    assert not list(small_case.folder.glob("out*"))


def test_empty_segments_are_named(small_case, repeating, capsys):
    metadata = {
        "Segment0_Name": "tumour", "Segment0_LabelValue": "1", "Segment0_Layer": "0",
        "Segment1_Name": "lost", "Segment1_LabelValue": "5", "Segment1_Layer": "0",
    }  # fmt: skip
    small_case.write("in.seg.nrrd", small_case.reference, metadata=metadata)
    assert segment(small_case, reference="in.seg.nrrd") == 0
    assert "lost has no annotated slice" in capsys.readouterr().err


def test_version_and_help(capsys):
    for option, words in (("--version", "medpersam 0."), ("--help", "segment")):
        with pytest.raises(SystemExit) as stop:
            main([option])
        assert stop.value.code == 0 and words in capsys.readouterr().out


def test_methods_are_listed(capsys):
    assert main(["methods"]) == 0
    out = capsys.readouterr().out
    assert "copy" in out and "med-persam *" in out


def test_demo(tmp_path, capsys):
    assert main(["demo", "--method", "copy", "--folder", str(tmp_path / "demo")]) == 0
    assert sorted(p.name for p in (tmp_path / "demo").iterdir()) == ["picture.png", "report.json", "segmentation.seg.nrrd"]
    assert "Dice with the truth" in capsys.readouterr().out
