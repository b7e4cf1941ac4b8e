"""ProMISe's IPS, learned from the annotated slices alone: only the decoder's mask tokens are shifted (METHOD.md section 3)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from MedPerSAMLib.core.learn.one_slice import OneSliceSettings
from MedPerSAMLib.core.learn.settings import FitSettings
from MedPerSAMLib.core.learn.token_shift import TokenShift
from MedPerSAMLib.core.methods.one_slice import OneSliceMethod, OneSliceMethodSettings
from MedPerSAMLib.core.sam.predictor import Predictor


@dataclass(frozen=True)
class IpsOneSettings(OneSliceMethodSettings):
    """How the shift is learned: a few hundred numbers bear a higher rate than a network, and need it.

    Attributes:
        box: prompt with a square box in the middle of the window, as wide as the structure is taken to be.
    """

    learn: OneSliceSettings = OneSliceSettings(
        fit=FitSettings(steps=120, batch=4, learning_rate=2e-2, weight_decay=0.0, checks=4, patience=4)
    )
    box: bool = False


class IpsOne(OneSliceMethod):
    """A shift of SAM's mask tokens; SAM itself stays frozen."""

    summary = "ProMISe's token shift learned on copies of the annotated slice; SAM decodes with it"

    def __init__(self, settings: IpsOneSettings = IpsOneSettings()) -> None:
        super().__init__(settings)

    def part(self, predictor: Predictor) -> nn.Module:
        """The shift, at first none."""
        share = 1 / self.settings.learn.extents if self.settings.box else None
        return TokenShift(predictor.sam, share).to(predictor.device)
