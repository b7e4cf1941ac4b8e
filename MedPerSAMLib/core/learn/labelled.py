"""What a fit learns from: a volume in which every structure is outlined on every slice that holds it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from MedPerSAMLib.core.task import Volume
from MedPerSAMLib.errors import InputError


@dataclass(frozen=True)
class LabelledVolume:
    """A finished case.

    Attributes:
        volume: the grey volume.
        labels: (slices, rows, columns) of an integer type; 0 background, 1..C the classes, in the order of the fit's labels.
        name: what messages call it.
    """

    volume: Volume
    labels: np.ndarray
    name: str = "the volume"

    def __post_init__(self) -> None:
        if self.labels.shape != self.volume.array.shape:
            raise InputError(
                f"{self.name}: the labels are {self.labels.shape}, the volume {self.volume.array.shape}; resample the labels "
                "onto the volume's grid."
            )
        if not self.labels.any():
            raise InputError(f"{self.name} has no labelled voxel; give a finished case, or leave it out.")
