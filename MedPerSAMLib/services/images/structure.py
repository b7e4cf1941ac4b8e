"""What is known of a structure besides its voxels: name, colour, label value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

PALETTE = (
    (0.90, 0.29, 0.24), (0.30, 0.69, 0.31), (0.25, 0.47, 0.85), (0.95, 0.77, 0.06), (0.61, 0.35, 0.71),
    (0.10, 0.74, 0.70), (0.90, 0.49, 0.13), (0.93, 0.46, 0.66), (0.55, 0.76, 0.29), (0.50, 0.55, 0.90),
)  # fmt: skip
"""Colours of structures whose file names none, red, green, blue in 0..1."""


@dataclass(frozen=True)
class Structure:
    """One structure of a label image or segmentation.

    Attributes:
        name: what it is called.
        value: its label value, positive.
        colour: red, green, blue in 0..1.
        tags: further fields of its segment in a ``.seg.nrrd`` (ID, terminology tags), kept when written again.
    """

    name: str
    value: int
    colour: tuple[float, float, float]
    tags: Mapping[str, str] = field(default_factory=dict)


def unnamed_structure(value: int) -> Structure:
    """The structure of label ``value`` in an image that has no names."""
    return Structure(f"label {value}", value, PALETTE[(value - 1) % len(PALETTE)])
