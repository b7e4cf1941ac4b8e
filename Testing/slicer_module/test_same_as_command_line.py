"""The module's logic and the command line give the same voxels for the same annotated slice."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scene as build
import SimpleITK
import slicer

from MedPerSAMLib.mrml.medpersam_logic import MedPerSAMLogic
from MedPerSAMLib.mrml.segment_reader import read_mask
from MedPerSAMLib.mrml.segment_writer import write_slice
from MedPerSAMLib.services.models.store import ModelStore

ROOT = Path(__file__).resolve().parents[2]


def _through_slicer(logic: MedPerSAMLogic, volume_file: Path, labels, index: int, method: str) -> np.ndarray:
    storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLNRRDStorageNode")
    storage.SetFileName(str(volume_file))
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "volume")
    assert storage.ReadData(volume)
    segmentation = build.segmentation_node(volume, "structure")
    write_slice(segmentation, "structure", volume, 0, index, labels[index])
    logic.process(volume, segmentation, ["structure"], method=method, device="cpu")
    return read_mask(segmentation, "structure", volume)


def _through_command_line(volume_file: Path, labels: np.ndarray, index: int, method: str, folder: Path) -> np.ndarray:
    image = SimpleITK.ReadImage(str(volume_file))
    reference = np.zeros(labels.shape, np.uint8)
    reference[index] = labels[index]
    drawn = SimpleITK.GetImageFromArray(reference)
    drawn.CopyInformation(image)
    SimpleITK.WriteImage(drawn, str(folder / "reference.nrrd"))
    command = [sys.executable, "-m", "MedPerSAMLib", "segment", volume_file, "--reference", folder / "reference.nrrd"]
    command += ["-o", folder / "out.nrrd", "--method", method, "--device", "cpu"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(folder / "out.nrrd"))).astype(bool)


def _logics() -> list[MedPerSAMLogic]:
    """The headless logic, and the module's, where its stand-ins can be had."""
    if importlib.util.find_spec("PySide6") is None:
        return [MedPerSAMLogic()]
    import qt_stand_ins

    return [MedPerSAMLogic(), qt_stand_ins.module().MedPerSAMLogic()]


@pytest.mark.parametrize("method", ["copy", "med-persam"])
def test_on_a_real_volume(scene, shared_data, tmp_path, method):
    if method == "med-persam" and not ModelStore().state("tiny").ready:
        pytest.skip("the embedded model's weights are not in this tree yet")
    case = min(path for path in (shared_data / "hippocampus").iterdir() if path.is_dir())
    image = SimpleITK.ReadImage(str(case / "image.nii.gz"))
    labels = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(case / "label.nii.gz"))) > 0
    volume_file = tmp_path / "volume.nrrd"
    SimpleITK.WriteImage(image, str(volume_file))
    index = int(labels.sum(axis=(1, 2)).argmax())
    theirs = _through_command_line(volume_file, labels, index, method, tmp_path)
    for logic in _logics():
        mine = _through_slicer(logic, volume_file, labels, index, method)
        assert mine.sum() > labels[index].sum()
        assert np.array_equal(mine, theirs), type(logic).__name__
