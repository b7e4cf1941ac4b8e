"""One scored piece of work, and the means over many of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

NO_SURFACES: Mapping[str, None] = {"nsd_2mm": None, "hd95_mm": None}
"""Figures of a single slice or 2D image, which has no surface in millimetres: there, and not defined."""


@dataclass(frozen=True)
class Record:
    """What one method reached on one structure of one case.

    Attributes:
        set_name: the set.
        case: the case.
        label: the structure's name.
        method: the method's (or prompt kind's) name.
        values: figures that are averaged; None where a figure is not defined for the set.
        details: whatever else is worth keeping: JSON values, per-slice lists included.
    """

    set_name: str
    case: str
    label: str
    method: str
    values: Mapping[str, float | None]
    details: Mapping[str, object] = field(default_factory=dict)


def unique(names: Iterable[str]) -> list[str]:
    """The different names, in order of first appearance."""
    return list(dict.fromkeys(names))


def mean_or_none(values: Iterable[float | None]) -> float | None:
    """Mean of what is defined; None where nothing is."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def mean_per_set(records: Sequence[Record]) -> dict[str, dict[str, dict[str, dict[str, float | None]]]]:
    """``set -> method -> label -> figures``, with a ``mean`` beside the labels.

    A label's figures are means over its records, whose number is ``n``; ``mean`` is the mean over labels, so that a
    label with few cases weighs as much as one with many, and its ``n`` is the number of all records.
    """
    result: dict[str, dict[str, dict[str, dict[str, float | None]]]] = {}
    for record in records:
        result.setdefault(record.set_name, {}).setdefault(record.method, {}).setdefault(record.label, {})
    for set_name, methods in result.items():
        for method, labels in methods.items():
            own = [record for record in records if (record.set_name, record.method) == (set_name, method)]
            for label in labels:
                labels[label] = _mean_of([record.values for record in own if record.label == label])
            labels["mean"] = _mean_of(list(labels.values())) | {"n": len(own)}
    return result


def mean_over_sets(
    sets: Mapping[str, Mapping[str, Mapping[str, Mapping[str, float | None]]]],
) -> dict[str, dict[str, float | None]]:
    """``method -> figures``: means over the sets' ``mean`` entries; ``n`` is the number of sets."""
    methods = unique(method for methods in sets.values() for method in methods)
    return {method: _mean_of([own[method]["mean"] for own in sets.values() if method in own]) for method in methods}


def _mean_of(figures: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    keys = unique(key for figure in figures for key in figure if key != "n")
    return {key: mean_or_none(figure.get(key) for figure in figures) for key in keys} | {"n": len(figures)}
