"""Generated abdomens for benchmarks that choose settings: no real image is looked at."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from MedPerSAMLib.core.session import VolumeSession
from MedPerSAMLib.core.task import Volume
from MedPerSAMLib.sample.phantom import Settings, make_phantom


def open_phantom(seed: int, equipment) -> tuple[VolumeSession, np.ndarray]:
    """The session of a phantom and its (slices, rows, columns) labels."""
    array, labels = make_phantom(seed)
    volume = Volume(array.astype(np.float32), Settings().spacing)
    return VolumeSession(volume, equipment.predictor, equipment.warp_network, 0, equipment.model_key), labels


def structures(labels: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
    """(truth, slice where it is largest) of every structure."""
    for value in np.unique(labels)[1:]:
        truth = labels == value
        yield truth, int(truth.sum((1, 2)).argmax())
