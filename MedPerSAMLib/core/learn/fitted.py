"""What comes out of a fit, and what is needed to go on with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class CurvePoint:
    """One check of a training.

    Attributes:
        step: steps done.
        loss: mean training loss since the check before.
        dice: mean Dice over classes on the validation slices, 0..1.
    """

    step: int
    loss: float
    dice: float


@dataclass(frozen=True)
class Fitted:
    """A learned part; the frozen SAM is not in it.

    Attributes:
        method: name in ``learners.LEARNERS``.
        classes: how many structures it tells apart, background not counted.
        settings: plain JSON values with which the part is built and used.
        weights: name -> tensor, of the best check.
        curve: the checks so far.
        steps: steps done.
        finished: whether the training came to its end (its last step, or an early stop).
        training_state: name -> tensor, from which an unfinished training goes on; empty for a finished one.
    """

    method: str
    classes: int
    settings: Mapping[str, Any]
    weights: Mapping[str, torch.Tensor]
    curve: tuple[CurvePoint, ...] = ()
    steps: int = 0
    finished: bool = True
    training_state: Mapping[str, torch.Tensor] = field(default_factory=dict)
