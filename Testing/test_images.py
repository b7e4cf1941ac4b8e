"""Image files in and out: geometry, axes, segments, layers, DICOM."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from MedPerSAMLib.errors import InputError, OutputError
from MedPerSAMLib.services.images.grid import Grid
from MedPerSAMLib.services.images.picture_file import read_picture, read_picture_mask, write_picture_mask
from MedPerSAMLib.services.images.reference_file import annotated_axis, read_reference
from MedPerSAMLib.services.images.structure import Structure
from MedPerSAMLib.services.images.volume_file import read_volume
from MedPerSAMLib.services.images.write_segmentation import (
    SUFFIXES,
    output_suffix,
    partial_path,
    write_segmentation,
)
from Testing.cases import read_array

RED, BLUE = Structure("tumour", 3, (1.0, 0.0, 0.0), {"ID": "S_1", "Tags": "a~b^c|"}), Structure("cyst", 7, (0, 0, 1.0))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_and_exactly_back(small_case, suffix, axis):
    volume_file = read_volume(small_case / "volume.nrrd")
    volume, geometry = volume_file.along(axis)
    assert volume.array.shape[0] == small_case.array.shape[axis]
    assert volume.spacing[0] == pytest.approx((3.7, 1.1, 0.8)[axis])
    assert np.array_equal(geometry.to_file_order(volume.array), small_case.array)
    path = small_case / f"out{suffix}"
    write_segmentation(path, [geometry.to_slices(small_case.labels)], [RED], {3: 0}, geometry)
    assert np.array_equal(read_array(path), small_case.labels)
    written = SimpleITK.ReadImage(str(path))
    assert Grid.of(written).matches(volume_file.grid)
    if "nii" not in suffix:  # NIfTI holds float32
        assert written.GetOrigin() == pytest.approx(volume_file.grid.origin, abs=1e-12)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("annotated", [[2], [1, 2], [0, 2, 5]])
def test_axis_is_found_from_the_mask(axis, annotated):
    mask = np.zeros((30, 32, 34), bool)
    slices = np.moveaxis(mask, axis, 0)
    slices[annotated, 8:20, 9:21] = True
    assert annotated_axis(mask, _grid(mask), "mask") == axis


def test_crossing_planes_have_no_axis():
    mask = np.zeros((30, 32, 34), bool)
    mask[12, 5:25, 6:30] = True
    mask[8:17, 5:25, 15] = True
    with pytest.raises(InputError, match="axial.*coronal.*sagittal"):
        annotated_axis(mask, _grid(mask), "mask")


def test_segments_keep_name_colour_and_tags(small_case):
    metadata = {
        "Segment0_Name": "tumour", "Segment0_Color": "1 0 0", "Segment0_LabelValue": "1", "Segment0_Layer": "0",
        "Segment0_ID": "S_1", "Segment0_Tags": "Terminology~a^b|", "Segment0_Extent": "0 1 0 1 0 1",
        "Segment1_Name": "empty", "Segment1_LabelValue": "9", "Segment1_Layer": "0",
        "Segment2_Name": "cyst", "Segment2_Color": "0 0 1", "Segment2_LabelValue": "2", "Segment2_Layer": "0",
    }  # fmt: skip
    path = small_case.write("in.seg.nrrd", small_case.reference, metadata=metadata)
    grid = read_volume(small_case / "volume.nrrd").grid
    found = read_reference(path, grid)
    assert [s.name for s in found.structures] == ["tumour", "cyst"]
    assert found.notes == ("empty has no annotated slice and was left out.",)
    write_segmentation(
        small_case / "out.seg.nrrd", [small_case.labels], found.structures, {1: 0, 2: 0}, grid.along(found.axis)
    )
    header = SimpleITK.ReadImage(str(small_case / "out.seg.nrrd"))
    assert header.GetMetaData("Segment0_Tags") == "Terminology~a^b|"
    assert header.GetMetaData("Segment0_ID") == "S_1"
    assert header.GetMetaData("Segment1_Color") == "0 0 1"
    assert "Segment0_Extent" not in header.GetMetaDataKeys()


def test_layers_may_overlap(small_case):
    first, second = np.zeros_like(small_case.labels), np.zeros_like(small_case.labels)
    first[2, 3:9, 4:12], second[2, 6:15, 8:20] = 1, 1
    metadata = {
        "Segment0_Name": "a", "Segment0_LabelValue": "1", "Segment0_Layer": "0",
        "Segment1_Name": "b", "Segment1_LabelValue": "1", "Segment1_Layer": "1",
    }  # fmt: skip
    path = small_case.write("two.seg.nrrd", np.stack([first, second], axis=-1), vector=True, metadata=metadata)
    found = read_reference(path, read_volume(small_case / "volume.nrrd").grid)
    assert [s.value for s in found.structures] == [1, 2], "values are unique although both layers use 1"
    assert np.array_equal(found.masks[1], first == 1)
    assert np.array_equal(found.masks[2], second == 1)


def test_segmentation_cropped_by_slicer(small_case):
    metadata = {"Segment0_Name": "a", "Segment0_LabelValue": "1", "Segment0_Layer": "0"}
    whole = small_case.image((small_case.reference == 1).astype(np.uint8))
    cropped = whole[3:14, 2:10, 2:3]
    for key, value in metadata.items():
        cropped.SetMetaData(key, value)
    SimpleITK.WriteImage(cropped, str(small_case / "cropped.seg.nrrd"))
    found = read_reference(small_case / "cropped.seg.nrrd", read_volume(small_case / "volume.nrrd").grid)
    assert np.array_equal(found.masks[1], small_case.reference == 1)


def test_dicom_folder_takes_the_longest_series(small_case):
    folder = small_case / "dicom"
    folder.mkdir()
    for series, count in (("1", 3), ("2", 6)):
        _write_dicom_series(folder, series, small_case.array[:count])
    found = read_volume(folder)
    assert found.array.shape == small_case.array.shape
    assert np.abs(found.array - small_case.array).max() <= 0.5
    assert "2 DICOM series" in found.notes[0]
    assert found.grid.spacing == pytest.approx((0.8, 1.1, 3.7), abs=1e-4)


def test_missing_dicom_slice_is_said(small_case):
    folder = small_case / "dicom"
    folder.mkdir()
    _write_dicom_series(folder, "1", small_case.array)
    (folder / "1-3.dcm").unlink()
    assert "3.70 to 7.40 mm apart" in read_volume(folder).notes[0]


def test_smallest_type_and_no_leftovers(small_case):
    grid = read_volume(small_case / "volume.nrrd").grid
    labels = small_case.labels.astype(np.int64) * 300
    write_segmentation(small_case / "out.nrrd", [labels], [], {}, grid.along(0))
    assert read_array(small_case / "out.nrrd").dtype == np.uint16
    assert not [p for p in small_case.folder.iterdir() if p.name.startswith(".")]


def test_output_names():
    assert output_suffix("a/Liver.Seg.NRRD") == ".seg.nrrd"
    assert partial_path("a/liver.v2.nii.gz") == Path("a/liver.v2.partial.nii.gz")
    assert partial_path("a/report.v2.json") == Path("a/report.v2.partial.json")
    assert partial_path("a/report") == Path("a/report.partial")
    with pytest.raises(OutputError, match=r"\.seg\.nrrd"):
        output_suffix("liver.png")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures(tmp_path, suffix, channels):
    shape = (12, 15) if channels == 1 else (12, 15, 3)
    array = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array, isVector=channels > 1), str(tmp_path / f"a{suffix}"))
    read = read_picture(tmp_path / f"a{suffix}")
    assert read.shape == shape
    if suffix != ".jpg":
        assert np.array_equal(read, array)


THUMBNAIL = b"\xff\xe1\x00\x08\xff\xd8\xff\xd9ab"


@pytest.mark.parametrize("behind", [b"", b"\0\0", b"behind the picture"])
def test_jpeg_with_thumbnail_and_something_behind_it(tmp_path, behind):
    path = _jpeg(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:2] + THUMBNAIL + whole[2:] + behind)
    assert read_picture(path).shape == (40, 50)


def test_end_marker_of_the_thumbnail_is_not_the_picture_s(tmp_path):
    path = _jpeg(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:2] + THUMBNAIL + whole[2 : len(whole) // 2])
    with pytest.raises(InputError, match="end marker is missing"):
        read_picture(path)


@pytest.mark.parametrize("name", ["a.tif", "a.tiff", "a.hdr", "a.hdr.gz", "a.img", "a.mhd", "a.mha", "a.nii"])
@pytest.mark.parametrize("compressed", [False, True])
def test_whole_files_are_not_refused(small_case, name, compressed):
    image = SimpleITK.GetImageFromArray(small_case.array)
    SimpleITK.WriteImage(image, str(small_case / name), useCompression=compressed)
    assert np.array_equal(read_volume(small_case / name).array, small_case.array)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("big", [False, True])
def test_tiff_of_either_kind_and_byte_order(tmp_path, order, big):
    """One strip of 4 x 3 pixels; the reader knows them all, so both the whole and the cut file can be asked for."""
    path = tmp_path / "a.tif"
    whole = _tiff(order, big)
    path.write_bytes(whole)
    assert np.array_equal(read_picture(path), np.arange(12).reshape(3, 4))
    for size in (len(whole) - 1, len(whole) // 2):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match="truncated"):
            read_picture(path)


def test_voxels_written_as_text_are_left_to_the_reader(tmp_path):
    path = tmp_path / "text.mha"
    lines = ["ObjectType = Image", "NDims = 3", "BinaryData = False", "DimSize = 2 2 2", "ElementType = MET_FLOAT"]
    path.write_text("\n".join([*lines, "ElementDataFile = LOCAL", "1 2 3 4 5 6 7 8", ""]))
    assert read_volume(path).array.ravel().tolist() == [1, 2, 3, 4, 5, 6, 7, 8]


def test_picture_masks(tmp_path):
    labels = np.zeros((12, 15), np.uint16)
    labels[2:5, 3:9] = 255
    labels[7:9, 3:9] = 300
    write_picture_mask(tmp_path / "m.png", labels)
    read, structures = read_picture_mask(tmp_path / "m.png", (12, 15))
    assert np.array_equal(read, labels)
    assert [s.value for s in structures] == [255, 300]


def _jpeg(folder: Path) -> Path:
    array = np.random.default_rng(0).integers(0, 255, (40, 50)).astype(np.uint8)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(folder / "a.jpg"))
    return folder / "a.jpg"


def _tiff(order: str, big: bool) -> bytes:
    """A TIFF or BigTIFF with the pixels 0 to 11 in front of its directory."""
    place, count = ("Q", "Q") if big else ("I", "H")
    fields = [(256, 4), (257, 3), (258, 8), (259, 1), (262, 1), (273, 16), (277, 1), (278, 3), (279, 12)]
    mark = {"<": b"II", ">": b"MM"}[order]
    head = mark + (struct.pack(order + "HHHQ", 43, 8, 0, 28) if big else struct.pack(order + "HI", 42, 28))
    # A short value stands at the beginning of its place.
    entries = [struct.pack(order + "HH" + place, tag, 3, 1) + struct.pack(order + "H", value) for tag, value in fields]
    width = struct.calcsize(order + "HH" + 2 * place)
    directory = struct.pack(order + count, len(fields)) + b"".join(entry.ljust(width, b"\0") for entry in entries)
    return head.ljust(16, b"\0") + bytes(range(12)) + directory + struct.pack(order + place, 0)


def _grid(mask: np.ndarray) -> Grid:
    return Grid(mask.shape[::-1], (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))


def _write_dicom_series(folder: Path, series: str, array: np.ndarray) -> None:
    writer = SimpleITK.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k, plane in enumerate(array.round().astype(np.int16)):
        image = SimpleITK.GetImageFromArray(plane[None])
        image.SetSpacing((0.8, 1.1, 3.7))
        tags = {
            "0008|0060": "CT", "0020|000d": "1.2.3", "0020|000e": f"1.2.3.{series}", "0020|0013": str(k),
            "0008|0018": f"1.2.3.{series}.{k + 1}", "0020|0032": f"-10\\20\\{3.7 * k}",
            "0020|0037": "1\\0\\0\\0\\1\\0", "0008|0008": "DERIVED\\SECONDARY",
        }  # fmt: skip
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{series}-{k}.dcm"))
        writer.Execute(image)


@pytest.mark.parametrize("flips", [(), (0,), (1,), (2,), (0, 1, 2)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_are_seen_the_same_way_however_they_are_stored(flips, axis):
    """Stored backwards along some axes (as NIfTI does), a volume looks the same."""
    array = np.arange(3 * 4 * 5).reshape(3, 4, 5)
    direction = np.eye(3)
    stored = array
    for array_axis in flips:
        stored = np.flip(stored, array_axis)
        direction[2 - array_axis, 2 - array_axis] = -1
    grid = Grid((5, 4, 3), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), tuple(direction.ravel()))
    expected = np.moveaxis(array, axis, 0)[1]
    if axis > 0:
        expected = expected[::-1]  # the head, at the highest k, is up
    found = grid.along(axis).to_slices(stored)[1 if axis not in flips else array.shape[axis] - 2]
    assert np.array_equal(grid.along(axis).as_seen(found), expected)
