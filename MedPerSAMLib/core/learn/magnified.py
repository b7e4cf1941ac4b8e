"""A learned part looks at each frame at several sizes, and the looks are averaged.

Training shows structures up to 1.4 times as large and down to 0.7 times as small as they are (``changes.SCALE``), but from a few cases a
part learns no more than to answer all of these roughly; what it makes of one frame then depends on its size. [I]
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional as F

MAGNIFICATIONS = (0.8, 1.25)
"""Sizes beside the frame's own, well within those of training; one smaller and one larger, so that neither is favoured."""


def at_several_sizes(
    own: torch.Tensor, frames: torch.Tensor, answer: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """Mean probabilities of looks at several sizes; where a magnified look does not reach, it has no say.

    Args:
        own: (B, 1 + C, m, m) probabilities of the frames at their own size.
        frames: (B, 1, s, s) in 0..1.
        answer: frames -> probabilities, both as above.

    Returns:
        (B, 1 + C, m, m) probabilities.
    """
    total, looks = own, torch.ones_like(own[:, :1])
    for factor in MAGNIFICATIONS:
        found = magnified(answer(magnified(frames, factor)), 1 / factor)
        seen = _reached(found, factor)
        total, looks = total + seen * found, looks + seen
    return total / looks


def magnified(images: torch.Tensor, factor: float) -> torch.Tensor:
    """Images (B, C, h, w) enlarged around their middle; what is missing beyond a shrunk one repeats its border, as in training."""
    return F.grid_sample(images, _places(images, factor), padding_mode="border", align_corners=False)


def _reached(images: torch.Tensor, factor: float) -> torch.Tensor:
    """(B, 1, h, w) 1 where a frame's pixel was still in view after it had been magnified, 0 elsewhere."""
    return (_places(images, 1 / factor).abs() <= 1).all(dim=-1)[:, None].to(images.dtype)


def _places(images: torch.Tensor, factor: float) -> torch.Tensor:
    """(B, h, w, 2) where each pixel of the magnified images lies in the images."""
    matrix = torch.tensor([[[1 / factor, 0.0, 0.0], [0.0, 1 / factor, 0.0]]], device=images.device)
    return F.affine_grid(matrix.expand(len(images), -1, -1), list(images.shape), align_corners=False)
