"""What a prompted part made of a volume, kept so that an answer to moved points takes their slices' time and not the volume's."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from MedPerSAMLib.core.frame import Frame


@dataclass(frozen=True)
class Looked:
    """One application without moved points.

    Attributes:
        frame: the window that all slices were seen through.
        notes: sentences for the user about it.
        probabilities: of each slice so far, (1 + C, m, m) float16, before neighbours have their say.
        places: of each slice so far, (C, N, 2) learned points, (x, y) in frame pixels.
    """

    frame: Frame
    notes: tuple[str, ...] = ()
    probabilities: list[torch.Tensor] = field(default_factory=list)
    places: list[torch.Tensor] = field(default_factory=list)

    def add(self, probabilities: torch.Tensor, places: torch.Tensor) -> None:
        """Take the next slices' (B, 1 + C, m, m) probabilities and (B, C, N, 2) points."""
        self.probabilities.extend(probabilities.half())
        self.places.extend(places.cpu())
