"""How learned parts are fitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class FitSettings:
    """How long and how [I]: the papers train for many epochs on many volumes, here a fit takes minutes on a CPU.

    Attributes:
        examples: augmented frames that are encoded once and shown again and again.
        memory_bytes: what the encoded frames may take; large encoders get fewer of them.
        steps: of AdamW.
        batch: frames per step.
        learning_rate: at its top; rises over the first steps and falls as a cosine.
        weight_decay: of AdamW.
        balance: how far the cross-entropy makes up for small structures: 0 not at all, 1 wholly.
        checks: how often the validation slices are looked at.
        patience: checks without a better result after which the training stops.
        held_out: every so many-th slice is kept for validation where no validation volume is given.
        most_validation: validation frames at most.
        empty_share: part of the examples that show slices without any structure.
        averaging: share of the averaged weights that a step leaves as they are (``average.AverageWeights``).
        located: examples and steps for learning where to look closer.
    """

    examples: int = 400
    memory_bytes: float = 1.2e9
    steps: int = 350
    batch: int = 8
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    balance: float = 0.5
    checks: int = 10
    patience: int = 5
    held_out: int = 6
    most_validation: int = 40
    empty_share: float = 0.2
    averaging: float = 0.98
    located: int = 400


OF_METHOD: Mapping[str, FitSettings] = {
    # Copies of SAM's own decoder start trained, and cost several times as much a step.
    "autosam-vit": FitSettings(learning_rate=5e-4, steps=120, batch=4, examples=300),
    # A step asks for one structure per frame.
    "promise": FitSettings(learning_rate=2e-3, steps=400),
    "promise-apm": FitSettings(learning_rate=2e-3, steps=400),
    "promise-queries": FitSettings(learning_rate=2e-3, steps=400),
    "promise-ips": FitSettings(learning_rate=2e-3, steps=400),
}
"""Where a method needs other settings than the rest."""

OF_SINGLE: Mapping[str, FitSettings] = {
    # One volume shows less that differs, and is learned sooner, and a fit of it is to take no more than three minutes on two cores.
    # Three volumes are not learned by then (held-out slices of la_mri: 0.76 after 240 steps, 0.81 after 350).
    "autosam-cnn": FitSettings(steps=200, examples=260, located=160),
}
"""Where a method needs other settings for a single training volume."""


def settings_of(method: str, single: bool = False) -> FitSettings:
    """The settings with which a method is fitted; ``single`` says that there is one training volume only."""
    settings = OF_METHOD.get(method, FitSettings())
    return OF_SINGLE.get(method, settings) if single else settings
