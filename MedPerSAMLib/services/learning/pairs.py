"""The pairs ``VOLUME:LABELS`` of the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from MedPerSAMLib.errors import InputError

_DRIVE = re.compile(r"(?:^|:)[A-Za-z](:)(?=[\\/])")
"""The colon of a Windows drive, at the start of a path."""


def split_pair(text: str) -> tuple[Path, Path]:
    """``VOLUME:LABELS`` as two paths.

    Where both paths exist that way of splitting is taken; else the colon counts that is not of a Windows drive, as in
    ``C:\\a.nii:C:\\b.nii``.

    Raises:
        InputError: it cannot be told where one path ends and the other begins.
    """
    colons = [place for place, character in enumerate(text) if character == ":" and 0 < place < len(text) - 1]
    pairs = {place: (Path(text[:place]), Path(text[place + 1 :])) for place in colons}
    there = [place for place in colons if all(path.exists() for path in pairs[place])]
    drives = {found.start(1) for found in _DRIVE.finditer(text)}
    possible = there or [place for place in colons if place not in drives]
    if len(possible) != 1:
        raise InputError(f"{text!r} is no pair of a volume and its labels; write it like ct.nii.gz:labels.nii.gz.")
    return pairs[possible[0]]


def short_names(paths: Sequence[Path]) -> list[str]:
    """What each path is called: its file's name, preceded by as many of its folders as tell the paths apart.

    Raises:
        InputError: a path is given twice.
    """
    parts = [path.resolve().parts for path in paths]
    for number, own in enumerate(parts):
        if own in parts[:number]:
            raise InputError(f"{paths[number]} is given twice; name each finished case once.")
    depth = 1
    while len({own[-depth:] for own in parts}) < len(parts):
        depth += 1
    return ["/".join(own[-depth:]) for own in parts]
