"""Every bad input: one sentence that names the value and the remedy, exit code 2, nothing written."""

from __future__ import annotations

import errno
import gzip
import os
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from MedPerSAMLib.services.cli import main

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def refused(small_case, repeating, capfd):
    """Call ``segment`` and check that it refuses; returns its sentence."""

    def call(volume="volume.nrrd", reference="reference.nrrd", output="out.nrrd", method="repeating", more=()) -> str:
        before = _listing(small_case.folder)
        code = main(
            [
                "segment", str(small_case / volume), "--reference", str(small_case / reference),
                "-o", str(small_case / output), "--report", str(small_case / "out.json"),
                "--method", method, *more,
            ]
        )  # fmt: skip
        out, err = capfd.readouterr()
        assert code == 2
        assert out == ""
        assert len(err.strip().splitlines()) == 1, err
        assert err.startswith("medpersam: ") and err.strip().endswith((".", "?")) and "Traceback" not in err
        assert _listing(small_case.folder) == before, "nothing is written"
        return err

    return call


def test_other_grid(small_case, refused):
    image = small_case.image(small_case.reference)
    image.SetOrigin((0, 0, 0))
    SimpleITK.WriteImage(image, str(small_case / "m.nrrd"))
    words = refused(reference="m.nrrd")
    assert "from (0.0, 0.0, 0.0)" in words and "from (-12.5, 30.2, 101.0)" in words and "resample" in words


def test_other_size(small_case, refused):
    SimpleITK.WriteImage(small_case.image(small_case.reference)[:-2], str(small_case / "m.nrrd"))
    words = refused(reference="m.nrrd")
    assert "22 x 20 x 6 voxels" in words and "24 x 20 x 6 voxels" in words and "0.8 x 1.1 x 3.7 mm" in words


def test_other_spacing(small_case, refused):
    image = small_case.image(small_case.reference)
    image.SetSpacing((0.8, 1.1, 4.0))
    SimpleITK.WriteImage(image, str(small_case / "m.nrrd"))
    assert "0.8 x 1.1 x 4 mm" in refused(reference="m.nrrd")


def test_empty_mask(small_case, refused):
    small_case.write("m.nrrd", np.zeros_like(small_case.reference))
    assert "is empty; outline" in refused(reference="m.nrrd")


def test_mask_along_several_axes(small_case, refused):
    reference = small_case.reference.copy()
    reference[:, 3:17, 10] = 1
    small_case.write("m.nrrd", reference)
    words = refused(reference="m.nrrd")
    assert "axial" in words and "sagittal" in words and "one orientation" in words


def test_whole_volume_as_mask(small_case, refused):
    labels = np.zeros_like(small_case.labels)
    labels[0:6, 4:10, 4:10] = 1
    small_case.write("m.nrrd", labels)
    assert "6 axial, 6 coronal, 6 sagittal" in refused(reference="m.nrrd")


@pytest.mark.parametrize(
    ("voxels", "words"),
    [
        ([(2, 5, 5), (2, 5, 6), (2, 6, 5)], "only 3 pixels"),
        ([(2, 5, 5), (2, 5, 6), (2, 5, 7)], "only 3 pixels"),
        ([(2, 5, 5), (2, 5, 6)], "only 2 pixels"),
        ([(2, 5, 5)], "only 1 pixel in"),
        ([(1, 5, 5), (3, 5, 5), (4, 5, 5)], "only 3 pixels"),
    ],
    ids=["corner", "row", "pair", "one", "column"],
)
def test_three_pixels(small_case, refused, voxels, words):
    reference = np.zeros_like(small_case.reference)
    for voxel in voxels:
        reference[voxel] = 1
    small_case.write("m.nrrd", reference)
    found = refused(reference="m.nrrd")
    assert f"label 1 has {words}" in found and "outline at least 4 pixels" in found


def test_three_pixels_beside_another_structure(small_case, refused):
    reference = small_case.reference.copy()
    reference[4, 5, 5:8] = 7
    small_case.write("m.nrrd", reference)
    assert "label 7 has only 3 pixels" in refused(reference="m.nrrd")


def test_a_line(small_case, refused):
    reference = np.zeros_like(small_case.reference)
    reference[2, 5, 5:15] = 1
    small_case.write("m.nrrd", reference)
    words = refused(reference="m.nrrd")
    assert "a line one pixel wide" in words and "outline the area" in words


def test_intensities_as_mask(small_case, refused):
    assert "whole label values" in refused(reference="volume.nrrd")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite(small_case, refused, value):
    array = small_case.array.copy()
    array[1, 2, 3:5] = value
    small_case.write("v.nrrd", array)
    assert "2 NaN or infinite voxels" in refused(volume="v.nrrd")


def test_constant_volume(small_case, refused):
    small_case.write("v.nrrd", np.full_like(small_case.array, 7))
    assert "Every voxel of" in (words := refused(volume="v.nrrd")) and "is 7" in words


def test_constant_annotated_slice(small_case, refused):
    array = small_case.array.copy()
    array[2] = 5
    small_case.write("v.nrrd", array)
    assert "annotated on slice 2, where every voxel is 5" in refused(volume="v.nrrd")


def test_other_constant_slices_are_no_mistake(small_case, repeating):
    array = small_case.array.copy()
    array[5] = 5
    small_case.write("v.nrrd", array)
    code = main(
        [
            "segment", str(small_case / "v.nrrd"), "--reference", str(small_case / "reference.nrrd"),
            "-o", str(small_case / "out.nrrd"), "--method", "copy",
        ]
    )  # fmt: skip
    assert code == 0


@pytest.mark.parametrize("name", ["v.png", "v.nrrd"])
def test_2d_image_as_volume(small_case, refused, name):
    plane = small_case.image(small_case.array.astype(np.uint8))[:, :, 2]
    SimpleITK.WriteImage(plane, str(small_case / name))
    words = refused(volume=name)
    assert "2D image (24 x 20)" in words and "medpersam transfer" in words


def test_one_slice_as_volume(small_case, refused):
    small_case.write("v.nrrd", small_case.array[:1])
    assert "24 x 20 x 1" in refused(volume="v.nrrd")


def test_rgb_volume(small_case, refused):
    small_case.write("v.nrrd", np.stack([small_case.array.astype(np.uint8)] * 3, axis=-1), vector=True)
    assert "3 values per voxel" in refused(volume="v.nrrd")


def test_rgb_mask(small_case, refused):
    small_case.write("m.nrrd", np.stack([small_case.reference] * 3, axis=-1), vector=True)
    assert "3 values per voxel" in refused(reference="m.nrrd")


def test_4d(small_case, refused):
    volume = small_case.image(small_case.array)
    SimpleITK.WriteImage(SimpleITK.JoinSeries([volume, volume]), str(small_case / "v.nii.gz"))
    assert "4 dimensions (24 x 20 x 6 x 2)" in refused(volume="v.nii.gz")


@pytest.mark.parametrize("name", ["v.txt", "v.nii", "v.nii.gz", "v.nrrd", "v.mha", "v.png", "v.dcm"])
def test_no_image(small_case, refused, name):
    (small_case / name).write_text("this is no image\n" * 40)
    assert name in refused(volume=name)


def test_empty_file(small_case, refused):
    (small_case / "v.nii.gz").write_bytes(b"")
    assert "v.nii.gz" in refused(volume="v.nii.gz")


@pytest.mark.parametrize(
    ("name", "cut"),
    [
        ("v.nii", "v.nii"), ("v.nii.gz", "v.nii.gz"), ("v.hdr", "v.img"), ("v.hdr.gz", "v.img.gz"), ("v.nrrd", "v.nrrd"),
        ("v.mha", "v.mha"), ("v.mhd", "v.zraw"), ("v.tif", "v.tif"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("share", [0.3, 0.5, 0.98])
def test_truncated(small_case, refused, name, cut, share):
    small_case.write(name, small_case.array)
    path = small_case / cut
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    words = refused(volume=name)
    assert "truncated" in words and "copy or export" in words


@pytest.mark.parametrize(("name", "lost"), [("v.hdr", "v.img"), ("v.img", "v.hdr"), ("v.mhd", "v.zraw")])
def test_half_of_a_pair(small_case, refused, name, lost):
    small_case.write(name, small_case.array)
    (small_case / lost).unlink()
    words = refused(volume=name)
    assert f"needs the file {small_case / lost}" in words and "copy both" in words


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("v.nii", "byte", "nan"), ("v.nii", "byte", "inf"), ("v.nii.gz", "byte", "nan"), ("v.mha", "DimSize", "24 20 six"),
        ("v.mha", "CompressedDataSize", "many"), ("v.mha", "CompressedDataSize", "inf"),
    ],
)  # fmt: skip
def test_header_that_makes_no_sense(small_case, refused, name, field, value):
    path = small_case.write(name, small_case.array)
    opened = gzip.open if name.endswith(".gz") else open
    with opened(path, "rb") as file:
        content = file.read()
    if field == "byte":
        content = content[:108] + struct.pack("<f", float(value)) + content[112:]
    else:
        before, _, rest = content.partition(f"{field} = ".encode())
        content = before + f"{field} = {value}\n".encode() + rest.partition(b"\n")[2]
    with opened(path, "wb") as file:
        file.write(content)
    words = refused(volume=name)
    assert f"{path} is damaged" in words and field in words and value in words and "copy or export" in words


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("LabelValue", "x"), ("LabelValue", "0"), ("Layer", "first"), ("Layer", "-1"), ("Color", "red"), ("Color", "1 0"),
        ("Color", "nan 0 0"),
    ],
)  # fmt: skip
def test_segment_that_makes_no_sense(small_case, refused, field, value):
    metadata = {"Segment0_Name": "tumour", "Segment0_LabelValue": "1", f"Segment0_{field}": value}
    small_case.write("m.seg.nrrd", small_case.reference, metadata=metadata)
    words = refused(reference="m.seg.nrrd")
    assert "segment tumour" in words and repr(value) in words and "save the segmentation again" in words


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz", "v.mha", "v.nrrd"])
def test_file_that_may_not_be_read(small_case, refused, monkeypatch, name):
    path = small_case.write(name, small_case.array)

    def denied(file, mode):
        if Path(file) == path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))
        return open(file, mode)

    monkeypatch.setattr("MedPerSAMLib.services.images.completeness.open", denied, raising=False)
    words = refused(volume=name)
    assert f"{path} cannot be read (Permission denied)" in words and "permissions" in words


def test_missing_file_and_empty_folder(small_case, refused):
    assert "There is no file" in refused(volume="nothing.nrrd")
    (small_case / "folder").mkdir()
    assert "holds no DICOM" in refused(volume="folder")


def test_unknown_method(refused):
    assert "did you mean persam" in refused(method="persamm")


def test_unknown_model(refused):
    words = refused(method="persam", more=("--model", "vit-b"))
    assert "vit-b" in words and "vit_b" in words


def test_checkpoint_with_code(small_case, refused):
    import torch

    class Evil:
        def __reduce__(self):
            return (Path.touch, (small_case / "evil",))

    torch.save({"image_encoder.pos_embed": torch.zeros(1), "evil": Evil()}, small_case / "evil.pth")
    assert "evil.pth" in refused(method="persam", more=("--model", str(small_case / "evil.pth")))


def test_checkpoint_that_is_a_zip_bomb(small_case, refused):
    with zipfile.ZipFile(small_case / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 300_000_000)
    assert "bomb.pth" in refused(method="persam", more=("--model", str(small_case / "bomb.pth")))


def test_checkpoint_without_its_keys(small_case, refused):
    import torch

    torch.save({"something.weight": torch.zeros(3)}, small_case / "other.pth")
    assert "something.weight" in refused(method="persam", more=("--model", str(small_case / "other.pth")))


def test_checkpoint_with_a_missing_and_an_extra_key(small_case, refused):
    from safetensors import safe_open
    from safetensors.torch import save_file

    from MedPerSAMLib.weights import weights_path

    with safe_open(weights_path("tiny"), framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, the file cannot be iterated over
        metadata = file.metadata()
    gone = next(key for key in tensors if key.startswith("mask_decoder."))
    tensors["mask_decoder.one_more.weight"] = tensors.pop(gone)
    save_file(tensors, small_case / "changed.safetensors", metadata)
    words = refused(method="persam", more=("--model", str(small_case / "changed.safetensors")))
    assert f"{gone} is missing" in words and "mask_decoder.one_more.weight is not expected" in words


@pytest.mark.parametrize("method", ["copy", "repeating"])
def test_unknown_model_is_refused_where_none_is_needed(small_case, refused, method):
    assert "did you mean vit_b" in refused(method=method, more=("--model", "vit-b"))
    assert "There is no model file" in refused(method=method, more=("--model", str(small_case / "none.pth")))


def test_unknown_suffix_and_missing_folder(refused):
    assert ".seg.nrrd" in refused(output="out.png")
    assert "There is no folder" in refused(output="nowhere/out.nrrd")


def test_output_onto_input(refused):
    assert "is an input" in refused(output="volume.nrrd")


def test_range_outside(refused):
    assert "leaves the volume's axial slices 0:5" in refused(more=("--range", "2:9"))
    assert "label 1 is annotated on slice 2, outside the range 3:4" in refused(more=("--range", "3:4"))


@pytest.mark.parametrize("name", ["out.nrrd", "out.seg.nrrd", "out.nii", "out.nii.gz", "out.mha"])
def test_no_space_left(small_case, name):
    """A limit on the size of files stands for the full disk: the system refuses to write more, in the same calls."""
    pytest.importorskip("resource")
    code = (
        "import resource, signal, sys\n"
        "import SimpleITK, torch\n"
        "from MedPerSAMLib.services.cli import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (150, 150))\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    before = _listing(small_case.folder)
    done = subprocess.run(
        [
            sys.executable, "-B", "-c", code, "segment", str(small_case / "volume.nrrd"),
            "--reference", str(small_case / "reference.nrrd"), "-o", str(small_case / name), "--method", "copy",
        ],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "free space" in done.stderr.strip().splitlines()[-1]
    assert _listing(small_case.folder) == before


def _listing(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path.relative_to(folder)), path.stat().st_size) for path in folder.rglob("*"))
