"""Whether an image file holds all the voxels that its header promises.

NIfTI readers fill what is missing with zeros without a word, and MetaImage's prints lines of its own; so both are
checked before they are read.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

from MedPerSAMLib.errors import InputError

_BLOCK = 1 << 22
_META_BYTES = {
    "MET_CHAR": 1, "MET_UCHAR": 1, "MET_SHORT": 2, "MET_USHORT": 2, "MET_INT": 4, "MET_UINT": 4,
    "MET_LONG": 4, "MET_ULONG": 4, "MET_LONG_LONG": 8, "MET_ULONG_LONG": 8, "MET_FLOAT": 4, "MET_DOUBLE": 8,
}  # fmt: skip


def check_complete(path: Path) -> None:
    """Raise InputError where ``path`` is a NIfTI or MetaImage file with fewer bytes than its header promises."""
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        have, need = _nifti(path)
    elif name.endswith(".mha"):
        have, need = _meta(path)
    else:
        return
    if have < need:
        raise InputError(f"{path} is truncated: {have} of {need} bytes are there; copy or export the file again.")


def _nifti(path: Path) -> tuple[int, int]:
    """Bytes there are (counted no further than needed) and bytes there should be; (0, 0) where it is no NIfTI-1."""
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    have = 0
    try:
        with opener(path, "rb") as file:
            header = file.read(348)
            have = len(header)
            if have < 348:
                return have, 348
            order = next((o for o in "<>" if struct.unpack(o + "i", header[:4])[0] == 348), None)
            if order is None or header[344:347] != b"n+1":
                return 0, 0
            dimensions = struct.unpack(order + "8h", header[40:56])
            bits = struct.unpack(order + "h", header[72:74])[0]
            offset = int(struct.unpack(order + "f", header[108:112])[0])
            need = offset + math.prod(dimensions[1 : 1 + dimensions[0]]) * bits // 8
            while have < need and (block := file.read(min(_BLOCK, need - have))):
                have += len(block)
            return have, need
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path} is truncated or damaged ({error}); copy or export the file again.") from error


def _meta(path: Path) -> tuple[int, int]:
    """As for NIfTI, of a MetaImage with its data in the same file; (0, 0) where that cannot be told."""
    fields: dict[str, str] = {}
    with open(path, "rb") as file:
        for line in file:
            key, _, value = line.decode("latin-1").partition("=")
            fields[key.strip()] = value.strip()
            if key.strip() == "ElementDataFile" or file.tell() > 100_000:
                break
        header = file.tell()
    if fields.get("ElementDataFile") != "LOCAL":
        return 0, 0
    if fields.get("CompressedData", "False").lower() == "true":
        data = int(fields.get("CompressedDataSize", 0))
    else:
        voxels = math.prod(int(n) for n in fields.get("DimSize", "0").split())
        data = voxels * int(fields.get("ElementNumberOfChannels", 1)) * _META_BYTES.get(fields.get("ElementType", ""), 0)
    return path.stat().st_size, header + data
