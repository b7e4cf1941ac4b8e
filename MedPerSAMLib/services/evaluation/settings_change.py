"""Settings dataclasses with some fields changed, fields of parts included: ``step.border``."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping

from MedPerSAMLib.errors import InputError


def changed(settings: object, changes: Mapping[str, object]) -> object:
    """A copy of a frozen settings dataclass with other values.

    Args:
        settings: the dataclass; its fields may be dataclasses themselves.
        changes: field -> value; a dot leads into a part.

    Raises:
        InputError: there is no such field; the nearest are given.
    """
    for path, value in changes.items():
        settings = _with(settings, path.split("."), path, value)
    return settings


def _with(settings: object, keys: list[str], path: str, value: object) -> object:
    known = [field.name for field in dataclasses.fields(settings)] if dataclasses.is_dataclass(settings) else []
    if keys[0] not in known:
        near = difflib.get_close_matches(keys[0], known, n=2) or known or ["the method as it is: it has no settings"]
        raise InputError(f"There is no setting {path!r}; use {', '.join(near)}.")
    if len(keys) > 1:
        value = _with(getattr(settings, keys[0]), keys[1:], path, value)
    return dataclasses.replace(settings, **{keys[0]: value})
