"""Whether an image file may be read and holds all that its header promises.

Readers fill what is missing with zeros without a word (NIfTI, TIFF, JPEG, BMP), or print lines of their own (MetaImage); so
these are checked before they are read.
"""

from __future__ import annotations

from pathlib import Path

from MedPerSAMLib.errors import InputError
from MedPerSAMLib.services.images.meta_check import check_meta
from MedPerSAMLib.services.images.nifti_check import check_nifti
from MedPerSAMLib.services.images.picture_check import check_bmp, check_jpeg
from MedPerSAMLib.services.images.tiff_check import check_tiff

_CHECKS = {
    (".nii", ".nii.gz", ".hdr", ".hdr.gz", ".img", ".img.gz"): check_nifti,
    (".mha", ".mhd"): check_meta,
    (".tif", ".tiff", ".lsm"): check_tiff,
    (".jpg", ".jpeg"): check_jpeg,
    (".bmp",): check_bmp,
}


def check_complete(path: Path) -> None:
    """Check a file before it is read; of formats that are not known here only whether it may be read.

    Raises:
        InputError: it may not be read, its header makes no sense, or there are fewer bytes than the header promises.
    """
    try:
        with open(path, "rb"):
            pass
        for suffixes, check in _CHECKS.items():
            if path.name.lower().endswith(suffixes):
                check(path)
    except OSError as error:
        name = error.filename or path
        raise InputError(f"{name} cannot be read ({error.strerror or error}); check its permissions.") from error
