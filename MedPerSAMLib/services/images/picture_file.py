"""2D pictures, grey or colour, and masks of them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import SimpleITK

from MedPerSAMLib.errors import InputError, OutputError
from MedPerSAMLib.services.images.structure import Structure, unnamed_structure
from MedPerSAMLib.services.images.volume_file import read_image

MOST_LABELS = 32
"""A mask with more values than this was saved with losses (JPEG) or is no mask."""


def read_picture(path: str | Path) -> np.ndarray:
    """Read png, jpg, tif or dcm as (rows, columns) grey or (rows, columns, 3) colour, float32, finite.

    Raises:
        InputError: it cannot be read, is a volume, or shows nothing.
    """
    array = _plane(Path(path), "picture").astype(np.float32)
    if not np.isfinite(array).all():
        raise InputError(f"{path} has NaN or infinite pixels; replace them by numbers first.")
    if array.min() == array.max():
        raise InputError(f"Every pixel of {path} is {array.min():g}; give a picture that shows something.")
    if array.ndim == 2:
        return array
    # Two channels are grey with opacity, four are colour with opacity.
    return array[..., :3] if array.shape[2] >= 3 else array[..., 0]


def read_picture_mask(path: str | Path, shape: tuple[int, int]) -> tuple[np.ndarray, tuple[Structure, ...]]:
    """Read the mask of a picture of ``shape`` (rows, columns): (rows, columns) label values, and their structures.

    Raises:
        InputError: it cannot be read, has another size, is empty, or has colours or too many values.
    """
    labels = _plane(Path(path), "mask")
    if labels.ndim == 3:
        if (labels[..., :3] != labels[..., :1]).any():
            raise InputError(f"The mask {path} has colours; give a grey image whose values are labels.")
        labels = labels[..., 0]
    if labels.shape != tuple(shape):
        raise InputError(
            f"The mask {path} is {labels.shape[1]} x {labels.shape[0]} pixels, its image {shape[1]} x {shape[0]}; "
            "give a mask of the image's size."
        )
    values = np.unique(labels)
    if not np.isfinite(values).all() or (values != np.round(values)).any() or values[0] < 0:
        raise InputError(f"The mask {path} has values that are no labels; give whole numbers of 0 and above.")
    values = [int(v) for v in values if v > 0]
    if not values:
        raise InputError(f"The mask {path} is empty; outline the structure first.")
    if len(values) > MOST_LABELS:
        raise InputError(f"The mask {path} has {len(values)} different values; save it without losses, as PNG.")
    return labels.astype(np.int64), tuple(unnamed_structure(v) for v in values)


def _plane(path: Path, what: str) -> np.ndarray:
    """(rows, columns) or (rows, columns, channels)."""
    image = read_image(path)
    if image.GetDimension() > 2 and all(n == 1 for n in image.GetSize()[2:]):
        image = SimpleITK.Extract(image, [*image.GetSize()[:2], *[0] * (image.GetDimension() - 2)])
    if image.GetDimension() > 2:
        size = " x ".join(str(n) for n in image.GetSize())
        raise InputError(f"The {what} {path} is a volume ({size}); use 'medpersam segment' for volumes.")
    return SimpleITK.GetArrayFromImage(image)


def write_picture_mask(path: str | Path, labels: np.ndarray) -> None:
    """Write (rows, columns) labels of an unsigned type as PNG, whole or not at all.

    Raises:
        OutputError: it cannot be written there.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.png")
    try:
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(labels), str(temporary), useCompression=True)
        os.replace(temporary, path)
    except (RuntimeError, OSError) as error:
        raise OutputError(f"{path} cannot be written; free space or choose another folder.") from error
    finally:
        temporary.unlink(missing_ok=True)
