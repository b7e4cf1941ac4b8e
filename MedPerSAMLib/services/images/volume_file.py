"""A grey volume from anything that SimpleITK reads: a file, or a folder of DICOM slices."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK

from MedPerSAMLib.core.task import Volume
from MedPerSAMLib.errors import InputError
from MedPerSAMLib.services.images.completeness import check_complete
from MedPerSAMLib.services.images.grid import Geometry, Grid


@dataclass(frozen=True)
class VolumeFile:
    """A volume as it lies in its file.

    Attributes:
        path: where it was read from.
        array: (k, j, i) float32, finite.
        grid: where its voxels lie.
        notes: sentences for the user, such as which DICOM series was chosen.
    """

    path: Path
    array: np.ndarray
    grid: Grid
    notes: tuple[str, ...] = ()

    def along(self, axis: int) -> tuple[Volume, Geometry]:
        """The volume with slices along array axis ``axis``, and the way back to the file's grid."""
        geometry = self.grid.along(axis)
        return Volume(np.ascontiguousarray(geometry.to_slices(self.array)), geometry.spacing), geometry


def read_volume(path: str | Path) -> VolumeFile:
    """Read a NIfTI, NRRD, MetaImage, ... file or a folder of DICOM slices.

    Raises:
        InputError: there is no such file, it is no image, it is truncated, or it is not one grey volume of several
            slices with finite values.
    """
    path = Path(path)
    image, notes = _read_dicom_folder(path) if os.path.isdir(path) else (read_image(path), ())
    image = _single_grey_volume(image, path)
    array = SimpleITK.GetArrayFromImage(image).astype(np.float32)
    finite = np.isfinite(array)
    if not finite.all():
        raise InputError(
            f"{path} has {finite.size - np.count_nonzero(finite)} NaN or infinite voxels; replace them by numbers first."
        )
    if array.min() == array.max():
        raise InputError(f"Every voxel of {path} is {array.min():g}; load a volume that shows something.")
    return VolumeFile(path, array, Grid.of(image), notes)


def read_image(path: Path) -> SimpleITK.Image:
    """Read one image file of any dimension.

    Raises:
        InputError: there is no such file, it may not be read, it is no image that SimpleITK knows, or it is truncated.
    """
    # Of what may not be reached, os says that it is not there, where pathlib raises.
    if not os.path.exists(path):
        raise InputError(f"There is no file {path} that may be reached; check the path.")
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file in it.")
    check_complete(path)
    try:
        with _without_warnings():
            return SimpleITK.ReadImage(str(path))
    except RuntimeError as error:
        if "Unable to determine ImageIO reader" in str(error):
            message = f"{path} is not an image that can be read; give NIfTI, NRRD, MHA or DICOM."
        else:
            message = f"{path} is damaged or truncated ({_last_line(error)}); copy or export the file again."
        raise InputError(message) from error


def _read_dicom_folder(path: Path) -> tuple[SimpleITK.Image, tuple[str, ...]]:
    reader = SimpleITK.ImageSeriesReader()
    with _without_warnings():
        files = {uid: reader.GetGDCMSeriesFileNames(str(path), uid) for uid in reader.GetGDCMSeriesIDs(str(path))}
    if not files:
        raise InputError(f"The folder {path} holds no DICOM slices; give a DICOM folder or an image file.")
    chosen = max(files, key=lambda uid: len(files[uid]))
    notes = ()
    if len(files) > 1:
        count = len(files[chosen])
        notes = (f"{path} holds {len(files)} DICOM series; the one with most slices was taken ({count}, {chosen}).",)
    if len(files[chosen]) == 1:
        return read_image(Path(files[chosen][0])), notes
    reader.SetFileNames(files[chosen])
    reader.MetaDataDictionaryArrayUpdateOn()
    try:
        with _without_warnings():
            image = reader.Execute()
    except RuntimeError as error:
        raise InputError(
            f"The DICOM series {chosen} in {path} cannot be read ({_last_line(error)}); export it again."
        ) from error
    gaps = _slice_gaps(reader, image)
    if gaps.size and gaps.max() > 1.01 * gaps.min():
        apart, taken = f"{gaps.min():.2f} to {gaps.max():.2f} mm apart", f"{image.GetSpacing()[2]:.2f} mm"
        notes += (f"The slices of {path} are {apart}, so some may be missing; {taken} was taken for all.",)
    return image, notes


def _slice_gaps(reader: SimpleITK.ImageSeriesReader, image: SimpleITK.Image) -> np.ndarray:
    """Millimetres between neighbouring slices of a DICOM series; empty where its files do not tell."""
    key = "0020|0032"
    if not all(reader.HasMetaDataKey(k, key) for k in range(image.GetSize()[2])):
        return np.empty(0)
    places = [[float(c) for c in reader.GetMetaData(k, key).split("\\")] for k in range(image.GetSize()[2])]
    return np.linalg.norm(np.diff(places, axis=0), axis=1)


def _single_grey_volume(image: SimpleITK.Image, path: Path) -> SimpleITK.Image:
    size = " x ".join(str(n) for n in image.GetSize())
    if image.GetDimension() > 3 and all(n == 1 for n in image.GetSize()[3:]):
        image = first_volume(image)
    if image.GetDimension() > 3:
        raise InputError(f"{path} has {image.GetDimension()} dimensions ({size}); extract one volume of the series first.")
    if image.GetDimension() < 3 or min(image.GetSize()) < 2:
        raise InputError(
            f"{path} is a 2D image ({size}); give a volume of several slices (for DICOM its folder), "
            "or use 'medpersam transfer' for 2D images."
        )
    if image.GetNumberOfComponentsPerPixel() > 1:
        raise InputError(
            f"{path} has {image.GetNumberOfComponentsPerPixel()} values per voxel, as colour images do; "
            "give a grey volume with one value per voxel."
        )
    if "complex" in image.GetPixelIDTypeAsString():
        raise InputError(f"{path} has complex voxels; give its magnitude image.")
    return image


def first_volume(image: SimpleITK.Image) -> SimpleITK.Image:
    """The first three-dimensional volume of an image with more dimensions."""
    while image.GetDimension() > 3:
        size = list(image.GetSize())
        size[-1] = 0
        image = SimpleITK.Extract(image, size, [0] * len(size))
    return image


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Keep ITK from writing warnings of its own to the terminal; errors still come as exceptions."""
    shown = SimpleITK.ProcessObject.GetGlobalWarningDisplay()
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        SimpleITK.ProcessObject.SetGlobalWarningDisplay(shown)


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].removeprefix("ITK ERROR: ") if lines else "unknown error"
