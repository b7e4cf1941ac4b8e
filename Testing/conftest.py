"""What every test may ask for."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real labelled sets; tests that need it are skipped where it is not."""
    folder = Path(os.environ.get("MEDPERSAM_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the real labelled data are not at {folder}; set MEDPERSAM_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def sample():
    """Paths of the embedded sample."""
    from MedPerSAMLib.sample import sample_paths

    return sample_paths()


@pytest.fixture(scope="session")
def sample_labels(sample) -> np.ndarray:
    """(slices, rows, columns) uint8 true labels of the sample."""
    import SimpleITK

    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(sample.truth)))


@pytest.fixture(scope="session")
def sample_volume(sample):
    """The sample as a Volume, slices axial."""
    import SimpleITK

    from MedPerSAMLib.core.task import Volume

    image = SimpleITK.ReadImage(str(sample.volume))
    return Volume(SimpleITK.GetArrayFromImage(image).astype(np.float32), image.GetSpacing()[::-1])


@pytest.fixture(scope="session")
def sample_references(sample_labels) -> dict:
    """Name of the structure -> Reference with the one annotated slice."""
    from MedPerSAMLib.core.task import Reference
    from MedPerSAMLib.sample import REFERENCE_SLICE
    from MedPerSAMLib.sample.phantom import LABELS

    annotated = sample_labels[REFERENCE_SLICE]
    return {name: Reference({REFERENCE_SLICE: annotated == value}, name) for value, name in LABELS.items()}


@pytest.fixture
def repeating(monkeypatch):
    """The stand-in method, registered as ``repeating``."""
    from MedPerSAMLib.core.methods import METHODS
    from Testing.fakes import Repeating

    fresh = type("Repeating", (Repeating,), {"sessions": [], "confidence": {}})
    monkeypatch.setattr("Testing.fakes.Repeating", fresh)
    monkeypatch.setitem(METHODS, "repeating", "Testing.fakes:Repeating")
    return fresh


@pytest.fixture
def small_case(tmp_path):
    """A noisy oblique volume of 6 x 20 x 24 voxels with two boxes, each annotated on axial slice 2, as files."""
    import SimpleITK

    from Testing.cases import SmallCase

    random = np.random.default_rng(1)
    array = random.normal(100, 10, (6, 20, 24)).astype(np.float32)
    labels = np.zeros(array.shape, np.uint8)
    labels[:, 3:9, 4:12], labels[1:5, 11:17, 9:20] = 1, 2
    array[labels == 1] += 80
    array[labels == 2] -= 60
    reference = np.zeros_like(labels)
    reference[2] = labels[2]
    case = SmallCase(tmp_path, array, labels, reference)
    for name, content in (("volume.nrrd", array), ("reference.nrrd", reference), ("truth.nrrd", labels)):
        SimpleITK.WriteImage(case.image(content), str(tmp_path / name))
    return case
