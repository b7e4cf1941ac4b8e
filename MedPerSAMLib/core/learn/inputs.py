"""What a learned part is shown of a frame: computed by the frozen encoder once, kept in half precision."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch

from MedPerSAMLib.core.sam.levels import encode_levels, level_widths
from MedPerSAMLib.core.sam.predictor import Predictor

FRAME_SIZE, MASK_SIZE = 256, 128
"""Sides of frames and masks for a method without a SAM: those of the embedded one."""


@dataclass(frozen=True)
class Inputs:
    """A batch of B; what a method does not look at is None.

    Attributes:
        embedding: (B, C, e, e) of the frozen encoder.
        levels: (B, L, e, e) its inner features.
        frames: (B, 1, s, s) in 0..1.
    """

    embedding: torch.Tensor | None = None
    levels: torch.Tensor | None = None
    frames: torch.Tensor | None = None

    @property
    def features(self) -> torch.Tensor:
        """(B, C, e, e) what a head looks at: the inner features where they are small, else the embedding."""
        return self.embedding if self.levels is None else self.levels

    def __getitem__(self, rows) -> Inputs:
        return Inputs(*(None if part is None else part[rows] for part in self._parts()))

    def __len__(self) -> int:
        return next(len(part) for part in self._parts() if part is not None)

    def half(self) -> Inputs:
        """In half precision on the CPU, to be kept."""
        return Inputs(*(None if part is None else part.half().cpu() for part in self._parts()))

    def on(self, device: torch.device) -> Inputs:
        """In float32 on a device, to be worked on."""
        return Inputs(*(None if part is None else part.float().to(device) for part in self._parts()))

    @property
    def bytes_each(self) -> int:
        """Memory of one frame."""
        return sum(part[0].nbytes for part in self._parts() if part is not None)

    @staticmethod
    def joined(parts: list[Inputs]) -> Inputs:
        """Several batches as one."""
        columns = zip(*(part._parts() for part in parts))
        return Inputs(*(None if column[0] is None else torch.cat(column) for column in columns))

    def _parts(self) -> tuple[torch.Tensor | None, ...]:
        return tuple(getattr(self, field.name) for field in fields(self))


def look(sees: str, predictor: Predictor | None, frames: torch.Tensor) -> Inputs:
    """What a method sees of (B, 1, s, s) frames in 0..1; ``sees`` as in ``learners.Learner``."""
    if sees == "frames":
        return Inputs(frames=frames)
    if sees == "embedding":
        return Inputs(predictor.encode(frames))
    if sees == "features" and not inner_features_are_small(predictor):
        return Inputs(predictor.encode(frames), None, frames)
    embedding, levels = encode_levels(predictor, frames)
    return Inputs(embedding, levels) if sees == "levels" else Inputs(None, levels, frames)


def inner_features_are_small(predictor: Predictor) -> bool:
    """Whether heads look at the encoder's inner features instead of its embedding alone [I].

    Where an encoder has few channels, as the embedded one has, they cost little and tell more (its levels end with the embedding);
    a ViT's are nine times as large as its embedding, which has seen the whole frame anyway.
    """
    return sum(level_widths(predictor)) <= 4 * predictor.sam.mask_decoder.iou_token.weight.shape[1]


def sizes(predictor: Predictor | None) -> tuple[int, int]:
    """Sides of a frame and of a mask."""
    return (FRAME_SIZE, MASK_SIZE) if predictor is None else (predictor.frame_size, predictor.mask_size)
