"""Whether a TIFF file holds all its pages."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from MedPerSAMLib.services.images.truncation import check_bytes

_OFFSETS_AND_COUNTS = ((273, 279), (324, 325))
"""Tags that say where the strips or tiles of a page begin, and how many bytes each has."""

_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_WHOLE = {1: "B", 3: "H", 4: "I", 16: "Q"}


@dataclass(frozen=True)
class _Layout:
    """Sizes of one of the two kinds of TIFF, with the byte order in front of each code of ``struct``.

    Attributes:
        first: where the place of the first page's directory stands.
        count: code of the number of a directory's entries.
        place: code of a place in the file.
    """

    order: str
    first: int
    count: str
    place: str


def check_tiff(path: Path) -> None:
    """Raise InputError where a page, one of its fields or some of its pixels lie behind the file's end."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        layout = _layout(file.read(8))
        if layout is None:
            return
        (place,) = _numbers(file, path, size, layout.first, layout.order + layout.place)
        seen = set()
        while place and place not in seen:
            seen.add(place)
            place = _check_page(file, path, size, place, layout)


def _layout(head: bytes) -> _Layout | None:
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 8:
        return None
    kind = struct.unpack(order + "H", head[2:4])[0]
    return {42: _Layout(order, 4, "H", "I"), 43: _Layout(order, 8, "Q", "Q")}.get(kind)


def _check_page(file: BinaryIO, path: Path, size: int, place: int, layout: _Layout) -> int:
    """Check the page whose directory is at ``place``; where the next page's directory is, 0 after the last."""
    (entries,) = _numbers(file, path, size, place, layout.order + layout.count)
    place += struct.calcsize(layout.order + layout.count)
    width = struct.calcsize(layout.place)
    fields: dict[int, tuple[int, ...]] = {}
    check_bytes(path, size, place + entries * (4 + 2 * width) + width)
    for _ in range(entries):
        tag, kind = _numbers(file, path, size, place, layout.order + "HH")
        (count,) = _numbers(file, path, size, place + 4, layout.order + layout.place)
        where, length = place + 4 + width, count * _TYPE_BYTES.get(kind, 0)
        if length > width:  # what does not fit into the entry lies elsewhere
            (where,) = _numbers(file, path, size, where, layout.order + layout.place)
            check_bytes(path, size, where + length)
        if kind in _WHOLE and any(tag in pair for pair in _OFFSETS_AND_COUNTS):
            fields[tag] = _numbers(file, path, size, where, f"{layout.order}{count}{_WHOLE[kind]}")
        place += 4 + 2 * width
    for offsets, counts in _OFFSETS_AND_COUNTS:
        for start, length in zip(fields.get(offsets, ()), fields.get(counts, ())):
            check_bytes(path, size, start + length)
    return _numbers(file, path, size, place, layout.order + layout.place)[0]


def _numbers(file: BinaryIO, path: Path, size: int, place: int, code: str) -> tuple[int, ...]:
    """The numbers at ``place``, as ``code`` of ``struct`` says."""
    length = struct.calcsize(code)
    check_bytes(path, size, place + length)
    file.seek(place)
    return struct.unpack(code, file.read(length))
