"""The methods as the panel offers them, told without importing them: that would import torch on the main thread."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MethodRow:
    """One method for the panel.

    Attributes:
        name: in ``core.methods.METHODS``.
        title: for people.
        needs_model: whether it uses a SAM.
    """

    name: str
    title: str
    needs_model: bool = True


METHOD_ROWS = (
    MethodRow("med-persam", "Med-PerSAM: warp, SAM and appearance (recommended)"),
    MethodRow("warp", "Warp only: the drawn outline carried from slice to slice", False),
    MethodRow("persam", "PerSAM: one-shot SAM, for comparison"),
    MethodRow("persam-f", "PerSAM-F: one-shot SAM with two tuned weights, for comparison"),
    MethodRow("matcher", "Matcher: patch matching and SAM, for comparison"),
    MethodRow("head-one", "Head: learned on copies of the drawn slice, for comparison"),
    MethodRow("ips-one", "IPS: SAM's mask tokens shifted after the drawn slice, for comparison"),
    MethodRow("grow-from-seeds", "Grow from seeds: Slicer's own, for comparison", False),
    MethodRow("copy", "Copy: repeat the drawn outline, for comparison", False),
)


def method_row(name: str) -> MethodRow:
    """The row of a method; an unknown name is taken to need a model."""
    return next((row for row in METHOD_ROWS if row.name == name), MethodRow(name, name))
