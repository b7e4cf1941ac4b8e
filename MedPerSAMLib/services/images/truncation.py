"""What is said of an image file that is not whole."""

from __future__ import annotations

from pathlib import Path

from MedPerSAMLib.errors import InputError


def check_bytes(path: Path, have: int, need: int) -> None:
    """Raise InputError where ``path`` has fewer bytes than it needs."""
    if have < need:
        raise InputError(
            f"{path} is truncated: it has {have} bytes and needs {need} or more; copy or export the file again."
        )


def damaged(path: Path, why: str) -> InputError:
    """The error for a file whose header makes no sense; ``why`` names the field and its value."""
    return InputError(f"{path} is damaged: {why}; copy or export the file again.")
