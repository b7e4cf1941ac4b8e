"""The embedded sample is what its docstrings say."""

from __future__ import annotations

import numpy as np
import SimpleITK

from MedPerSAMLib.sample import REFERENCE_SLICE, SAMPLE_SEED
from MedPerSAMLib.sample.phantom import LABELS, Settings, make_phantom


def test_small_enough_to_ship(sample):
    assert sum(path.stat().st_size for path in (sample.volume, sample.reference, sample.truth)) < 2_000_000


def test_one_annotated_slice_holds_every_organ(sample, sample_labels):
    reference = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(sample.reference)))
    assert np.flatnonzero(reference.any(axis=(1, 2))).tolist() == [REFERENCE_SLICE]
    assert np.array_equal(reference[REFERENCE_SLICE], sample_labels[REFERENCE_SLICE])
    assert set(np.unique(reference)) == {0, *LABELS}


def test_organs_start_end_and_split(sample_labels):
    extents = {}
    for value, name in LABELS.items():
        present = np.flatnonzero((sample_labels == value).any(axis=(1, 2)))
        extents[name] = (present[0], present[-1])
    last = len(sample_labels) - 1
    assert all(extents[name][0] > 0 and extents[name][1] < last for name in LABELS.values() if name != "aorta")
    pieces = [SimpleITK.GetArrayFromImage(_components(plane == 5)).max() for plane in sample_labels]
    assert pieces[0] == 2 and pieces[-1] == 1, "the aorta divides on its way down"


def test_stored_sample_is_the_generator_s(sample_labels):
    """A coarse phantom of the same seed puts every organ in the same place as the stored one."""
    settings = Settings(shape=(20, 40, 48), spacing=(9.0, 6.0, 6.0))
    _, labels = make_phantom(SAMPLE_SEED, settings)
    for value, name in LABELS.items():
        stored = [i * s for i, s in zip(np.argwhere(sample_labels == value).mean(axis=0) + 0.5, (4.5, 1.5, 1.5))]
        coarse = [i * s for i, s in zip(np.argwhere(labels == value).mean(axis=0) + 0.5, settings.spacing)]
        assert np.abs(np.subtract(stored, coarse)).max() < 3, name


def _components(plane: np.ndarray) -> SimpleITK.Image:
    return SimpleITK.ConnectedComponent(SimpleITK.GetImageFromArray(plane.astype(np.uint8)))
