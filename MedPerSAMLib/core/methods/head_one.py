"""AutoSAM's convolutional head, learned from the annotated slices alone (METHOD.md section 4, one-slice form)."""

from __future__ import annotations

from torch import nn

from MedPerSAMLib.core.learn.one_slice import untrained_head
from MedPerSAMLib.core.methods.one_slice import OneSliceMethod
from MedPerSAMLib.core.sam.predictor import Predictor


class HeadOne(OneSliceMethod):
    """A convolutional head on the frozen encoder."""

    summary = "a small head learned on copies of the annotated slice, on the frozen encoder's embeddings"

    def part(self, predictor: Predictor) -> nn.Module:
        """The untrained head."""
        return untrained_head(predictor)
