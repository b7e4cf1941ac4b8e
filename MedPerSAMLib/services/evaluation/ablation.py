"""What each step of med-persam is worth: its steps switched on one after the other."""

from __future__ import annotations

from collections.abc import Sequence

from MedPerSAMLib.errors import InputError
from MedPerSAMLib.services.evaluation.settings_change import changed
from MedPerSAMLib.services.evaluation.variants import Variant

METHOD = "med-persam"

OFF = {
    "sam": False,
    "appearance": False,
    "presence": False,
    "retraining": 0,
    "refine.box": True,
    "refine.mask": False,
    "refine.points": False,
    "refine.rounds": 0,
    "refine.fusion": False,
    "step.support": 0.0,
}
"""Settings with every step off, and how SAM is first asked once it is on."""

STEPS = {
    "warp only": (),
    "+ SAM box": ("sam",),
    "+ mask": ("refine.mask",),
    "+ points": ("refine.points",),
    "+ refinement": ("refine.rounds",),
    "+ fusion": ("refine.fusion",),
    "+ appearance": ("appearance",),
    "+ presence": ("presence",),
    "+ support": ("step.support",),
    "+ retraining": ("retraining",),
}
"""Row -> the settings that get the value of the switched-on method in it and in all later rows."""

ON = {"sam": True, "refine.mask": True, "refine.points": True, "appearance": True, "presence": True, "retraining": 1}
"""Switched on for the ablation even where the method ships with it off, because its row must show why."""


def ablation_variants(names: Sequence[str] = ()) -> list[Variant]:
    """One row for each step, and the method as it ships where that differs from the last row.

    Args:
        names: the rows that are wanted; none for all.

    Raises:
        InputError: there is no row of a name.
    """
    from MedPerSAMLib.core.methods import method_class

    shipped = method_class(METHOD)().settings
    settings = changed(shipped, OFF)
    rows = []
    for name, fields in STEPS.items():
        settings = changed(settings, {field: ON.get(field, _value(shipped, field)) for field in fields})
        rows.append(Variant(name, METHOD, settings))
    if settings != shipped:
        rows.append(Variant(f"{METHOD} as shipped", METHOD, shipped))
    known = [row.name for row in rows]
    for name in names:
        if name not in known:
            raise InputError(f"The ablation has no row {name!r}; use some of {', '.join(map(repr, known))}.")
    return [row for row in rows if not names or row.name in names]


def _value(settings: object, path: str) -> object:
    for key in path.split("."):
        settings = getattr(settings, key)
    return settings
