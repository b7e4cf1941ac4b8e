"""Small image files for tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK

TILT = (0.96, -0.28, 0.0, 0.28, 0.96, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class SmallCase:
    """A volume with annotations.

    Attributes:
        folder: holds volume.nrrd, reference.nrrd and truth.nrrd.
        array: (k, j, i) float32.
        labels: (k, j, i) true labels.
        reference: (k, j, i) labels of the annotated slice.
    """

    folder: Path
    array: np.ndarray
    labels: np.ndarray
    reference: np.ndarray

    @staticmethod
    def image(array: np.ndarray, vector: bool = False) -> SimpleITK.Image:
        """An array on the case's oblique, anisotropic grid."""
        image = SimpleITK.GetImageFromArray(array, isVector=vector)
        image.SetSpacing((0.8, 1.1, 3.7))
        image.SetOrigin((-12.5, 30.25, 101.0))
        image.SetDirection(TILT)
        return image

    def write(self, name: str, array: np.ndarray, vector: bool = False, metadata: dict[str, str] | None = None) -> Path:
        """Write an array on the case's grid into its folder."""
        image = self.image(array, vector)
        for key, value in (metadata or {}).items():
            image.SetMetaData(key, value)
        SimpleITK.WriteImage(image, str(self.folder / name), useCompression=True)
        return self.folder / name

    def __truediv__(self, name: str) -> Path:
        return self.folder / name


def read_array(path: Path) -> np.ndarray:
    """(k, j, i) of a file."""
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
