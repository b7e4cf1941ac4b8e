"""Whether a MetaImage holds all its voxels, behind its header or in a file of their own."""

from __future__ import annotations

import math
from pathlib import Path

from MedPerSAMLib.errors import InputError
from MedPerSAMLib.services.images.truncation import check_bytes, damaged

_LONGEST_HEADER = 100_000
_BYTES = {
    "MET_CHAR": 1, "MET_UCHAR": 1, "MET_SHORT": 2, "MET_USHORT": 2, "MET_INT": 4, "MET_UINT": 4,
    "MET_LONG": 4, "MET_ULONG": 4, "MET_LONG_LONG": 8, "MET_ULONG_LONG": 8, "MET_FLOAT": 4, "MET_DOUBLE": 8,
}  # fmt: skip


def check_meta(path: Path) -> None:
    """Raise InputError where the file, or the file of its voxels, is damaged or truncated.

    Voxels that are written as text or spread over several files are left to the reader.
    """
    fields, header = _header(path)
    name = fields.get("ElementDataFile", "")
    if fields.get("BinaryData", "True").lower() == "false":
        return
    if name.upper() == "LOCAL":
        data_path, before = path, header
    elif name and not name.upper().startswith("LIST") and "%" not in name:
        data_path, before = path.parent / name, max(0, _whole(fields, "HeaderSize", "0", path))
    else:
        return
    need = before + _voxel_bytes(fields, path)
    if not data_path.is_file():
        raise InputError(f"{path} needs the file {data_path}, which is not there; copy both files.")
    check_bytes(data_path, data_path.stat().st_size, need)


def _header(path: Path) -> tuple[dict[str, str], int]:
    """The fields, and how many bytes they take."""
    fields: dict[str, str] = {}
    with open(path, "rb") as file:
        for line in file:
            key, _, value = line.decode("latin-1").partition("=")
            fields[key.strip()] = value.strip()
            if key.strip() == "ElementDataFile" or file.tell() > _LONGEST_HEADER:
                break
        return fields, file.tell()


def _voxel_bytes(fields: dict[str, str], path: Path) -> int:
    """Bytes that the voxels take in the file; 0 where the header does not tell."""
    voxels = math.prod(_wholes(fields, "DimSize", "0", path))
    if fields.get("CompressedData", "False").lower() == "true":
        return _whole(fields, "CompressedDataSize", "0", path)
    return voxels * _whole(fields, "ElementNumberOfChannels", "1", path) * _BYTES.get(fields.get("ElementType", ""), 0)


def _whole(fields: dict[str, str], key: str, default: str, path: Path) -> int:
    numbers = _wholes(fields, key, default, path)
    if len(numbers) != 1:
        raise damaged(path, f"its header has {key} = {fields[key]!r}, which is not one number")
    return numbers[0]


def _wholes(fields: dict[str, str], key: str, default: str, path: Path) -> list[int]:
    text = fields.get(key, default)
    try:
        # Old writers gave sizes as 1.5e+06.
        return [int(float(word)) for word in text.split()]
    except (ValueError, OverflowError) as error:
        raise damaged(path, f"its header has {key} = {text!r}, which is no number of voxels or bytes") from error
