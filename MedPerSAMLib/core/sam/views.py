"""A slow and careful answer for single slices: three mirrored views of a frame, asked twice, and the mean of what they say.

On generated images (``Testing.benchmarks.views``) each of the two steps makes boxes more accurate, and all together take
nearly four times as long: too long for the many slices of a propagation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from MedPerSAMLib.core.sam.predictor import Decoded, Predictor, Prompts

MIRRORED_AXES = (None, -1, -2)
"""The views: as it is, left and right exchanged, top and bottom exchanged."""

MOST_SURE = 20.0
"""Largest logit of an answer that becomes a mask prompt: no model has seen surer ones."""


def encode_views(
    predictor: Predictor, frames: torch.Tensor, plain: torch.Tensor | None = None
) -> tuple[torch.Tensor, ...]:
    """(B, C, e, e) embeddings of (B, 1 or 3, s, s) frames in 0..1, one for each view; ``plain`` are those of the first."""
    first = predictor.encode(frames) if plain is None else plain
    return (first, *(predictor.encode(frames.flip(axis)) for axis in MIRRORED_AXES[1:]))


def decode_views(predictor: Predictor, views: tuple[torch.Tensor, ...], prompts: Prompts) -> Decoded:
    """One mask for each of B prompt sets, from all views.

    Where no mask is prompted, each view's answer is the mask prompt of a second pass (PerSAM, section 3.2). A mask that is
    given is better than an answer to it.
    """
    return mean_of_views(predictor, views, prompts, decode_twice if prompts.mask_logits is None else decode_once)


def mean_of_views(
    predictor: Predictor,
    views: tuple[torch.Tensor, ...],
    prompts: Prompts,
    decode: Callable[[Predictor, torch.Tensor, Prompts], Decoded],
) -> Decoded:
    """The mean of what ``decode`` gives for each view: logits (B, 1, m, m) and predicted IoU (B, 1)."""
    answers = [
        decode(predictor, view, _mirrored(prompts, axis, predictor.frame_size)) for view, axis in zip(views, MIRRORED_AXES)
    ]
    logits = [a.logits if axis is None else a.logits.flip(axis) for a, axis in zip(answers, MIRRORED_AXES)]
    return Decoded(torch.stack(logits).mean(0), torch.stack([answer.predicted_iou for answer in answers]).mean(0))


def decode_once(predictor: Predictor, embeddings: torch.Tensor, prompts: Prompts) -> Decoded:
    """One mask for each of B prompt sets."""
    return predictor.decode(embeddings, prompts)


def decode_twice(predictor: Predictor, embeddings: torch.Tensor, prompts: Prompts) -> Decoded:
    """One mask for each of B prompt sets; a second pass gets the first one's logits as mask prompt."""
    first = predictor.decode(embeddings, prompts)
    second = predictor.decode(embeddings, replace(prompts, mask_logits=first.logits.clamp(-MOST_SURE, MOST_SURE)))
    # What was found nowhere would be asked for nowhere.
    found = (first.logits > 0).flatten(1).any(1)
    return Decoded(
        torch.where(found[:, None, None, None], second.logits, first.logits),
        torch.where(found[:, None], second.predicted_iou, first.predicted_iou),
    )


def _mirrored(prompts: Prompts, axis: int | None, size: int) -> Prompts:
    """The prompts as they lie in a frame of ``size`` pixels that is mirrored along an axis."""
    if axis is None:
        return prompts
    x = 0 if axis == -1 else 1
    points, boxes = (None if part is None else part.clone() for part in (prompts.points, prompts.boxes))
    if points is not None:
        points[..., x] = size - points[..., x]
    if boxes is not None:
        boxes[:, [x, x + 2]] = size - boxes[:, [x + 2, x]]
    logits = None if prompts.mask_logits is None else prompts.mask_logits.flip(axis)
    return Prompts(points, prompts.labels, boxes, logits)
