"""Whether a JPEG or BMP picture is whole."""

from __future__ import annotations

import struct
from pathlib import Path

from MedPerSAMLib.errors import InputError
from MedPerSAMLib.services.images.truncation import check_bytes

_END = 0xD9
_WITHIN = {0, 0xFF, *range(0xD0, 0xD8)}
"""What follows a byte 255 that begins no segment: one of the picture, a filling byte, or where decoding may start anew."""


def check_jpeg(path: Path) -> None:
    """Raise InputError where the picture's end marker is missing; thumbnails within it have end markers of their own."""
    data = path.read_bytes()
    if data[:2] != b"\xff\xd8":
        return
    place = 2
    while 0 <= (place := data.find(b"\xff", place)) < len(data) - 1:
        kind = data[place + 1]
        if kind == _END:
            return
        if kind in _WITHIN:
            place += 1
        else:  # a segment, which may hold anything
            place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    raise InputError(f"{path} is truncated: its end marker is missing; copy or export the file again.")


def check_bmp(path: Path) -> None:
    """Raise InputError where the picture has fewer bytes than its pixels take."""
    with open(path, "rb") as file:
        header = file.read(38)
    if len(header) < 38 or header[:2] != b"BM":
        return
    start, length, columns, rows, _, bits, packing, size = struct.unpack("<IIiiHHII", header[10:38])
    if length < 40:  # of OS/2, which nobody writes
        return
    if packing in (0, 3):
        size = (abs(columns) * bits + 31) // 32 * 4 * abs(rows)
    check_bytes(path, path.stat().st_size, start + size)
