"""Whether a NIfTI-1 or Analyze image holds all its voxels, in one file or as a pair of header and voxels."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

from MedPerSAMLib.errors import InputError
from MedPerSAMLib.services.images.truncation import check_bytes, damaged

_BLOCK = 1 << 22
_HEADER = 348
_SINGLE = b"n+1"
"""What a header with the voxels behind it says; those of pairs say ``ni1``, or nothing (Analyze)."""


def check_nifti(path: Path) -> None:
    """Raise InputError where the file, or the voxel file of its pair, is damaged or truncated."""
    name = path.name.lower()
    is_pair = not name.endswith((".nii", ".nii.gz"))
    header_path, data_path = _pair(path) if is_pair else (path, path)
    if not (header_path.is_file() and data_path.is_file()):
        missing = data_path if header_path.is_file() else header_path
        raise InputError(f"{path} needs the file {missing}, which is not there; copy both files.")
    with _opened(header_path) as file:
        header = _read(file, _HEADER, header_path)
    check_bytes(header_path, len(header), _HEADER)
    order = next((o for o in "<>" if struct.unpack(o + "i", header[:4])[0] == _HEADER), None)
    if order is None or (header[344:347] == _SINGLE) == is_pair:
        return  # something else: what it is, the reader finds out
    need = _data_end(header, order, header_path)
    if data_path.name.lower().endswith(".gz"):
        check_bytes(data_path, _unpacked_bytes(data_path, need), need)
    else:
        check_bytes(data_path, data_path.stat().st_size, need)


def _pair(path: Path) -> tuple[Path, Path]:
    """The header and the voxel file of a pair, of which ``path`` is one."""
    packed = path.suffix if path.suffix.lower() == ".gz" else ""
    stem = path.name.removesuffix(packed)[: -len(".hdr")]
    capital = path.name.removesuffix(packed)[-1].isupper()
    header, data = (".HDR", ".IMG") if capital else (".hdr", ".img")
    return path.with_name(stem + header + packed), path.with_name(stem + data + packed)


def _data_end(header: bytes, order: str, path: Path) -> int:
    """Bytes up to the end of the last voxel."""
    dimensions = struct.unpack(order + "8h", header[40:56])
    bits = struct.unpack(order + "h", header[72:74])[0]
    offset = struct.unpack(order + "f", header[108:112])[0]
    if not math.isfinite(offset):
        raise damaged(path, f"its header lets the voxels begin at byte {offset}")
    return int(offset) + math.prod(dimensions[1 : 1 + dimensions[0]]) * bits // 8


def _opened(path: Path) -> BinaryIO:
    return gzip.open(path, "rb") if path.name.lower().endswith(".gz") else open(path, "rb")


def _unpacked_bytes(path: Path, need: int) -> int:
    """Bytes in a packed file, counted no further than needed."""
    have = 0
    with _opened(path) as file:
        while have < need and (block := _read(file, min(_BLOCK, need - have), path)):
            have += len(block)
    return have


def _read(file: BinaryIO, count: int, path: Path) -> bytes:
    try:
        return file.read(count)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path} is truncated or damaged ({error}); copy or export the file again.") from error
