"""ProMISe's IPS, learned from the annotated slices alone: only the decoder's mask tokens are shifted (METHOD.md section 3)."""

from __future__ import annotations

from torch import nn

from MedPerSAMLib.core.learn.one_slice import OneSliceSettings
from MedPerSAMLib.core.learn.settings import FitSettings
from MedPerSAMLib.core.learn.token_shift import TokenShift
from MedPerSAMLib.core.methods.one_slice import OneSliceMethod, OneSliceMethodSettings
from MedPerSAMLib.core.sam.predictor import Predictor

SETTINGS = OneSliceMethodSettings(
    OneSliceSettings(
        fit=FitSettings(steps=120, batch=4, learning_rate=2e-2, weight_decay=0.0, checks=4, patience=4)
    )
)
"""A shift of a few hundred numbers bears a higher rate than a network, and needs it."""


class IpsOne(OneSliceMethod):
    """A shift of SAM's mask tokens; SAM itself stays frozen and gets no prompts."""

    summary = "ProMISe's token shift learned on copies of the annotated slice; SAM decodes with it, without prompts"

    def __init__(self, settings: OneSliceMethodSettings = SETTINGS) -> None:
        super().__init__(settings)

    def part(self, predictor: Predictor) -> nn.Module:
        """The shift, at first none."""
        return TokenShift(predictor.sam).to(predictor.device)
