"""What can be learned from annotated slices alone: a part fitted on their augmented copies (METHOD.md section 3, last line).

The copies are windows around the structure, each bent, turned, shifted and lit differently; the frozen encoder sees each of
them once. Fresh copies, held out, tell how well the part separates the structure without any other label.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from MedPerSAMLib.core.frame import Frame, mask_extent
from MedPerSAMLib.core.learn.examples import Case, changed_example
from MedPerSAMLib.core.learn.inputs import Inputs
from MedPerSAMLib.core.learn.plain_head import PlainHead
from MedPerSAMLib.core.learn.settings import FitSettings
from MedPerSAMLib.core.learn.training import Examples, Training
from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.core.sam.predictor import Predictor
from MedPerSAMLib.core.warp.augment import augmented_pair


@dataclass(frozen=True)
class OneSliceSettings:
    """How a part is fitted on copies of the annotated slices [I].

    Attributes:
        extents: side of the window, in extents of the largest annotated mask: SAM is best where the box spans 1/2.2 of it.
        copies: that are learned from.
        held_out: further copies by which the best weights are chosen and the separation is measured.
        shift: deviation of the window's place among the copies, in sides.
        elsewhere: part of the copies whose window lies anywhere on the slice, so that absence is seen too.
        look: strength of the change of intensities among the copies, 0..1. Slices of one volume are lit alike, yet 0.2 made
            the head worse on each of the four structures tried (hippocampus, acdc).
        fit: of the training.
    """

    extents: float = 2.2
    copies: int = 64
    held_out: int = 12
    shift: float = 0.1
    elsewhere: float = 0.2
    look: float = 1.0
    fit: FitSettings = FitSettings(
        steps=80, batch=4, learning_rate=3e-3, checks=4, patience=4, balance=0.0, averaging=0.0
    )


@dataclass(frozen=True)
class FittedPart:
    """A part fitted on the annotated slices.

    Attributes:
        part: :class:`Inputs` -> (B, 2, m, m) logits, background first; in eval mode.
        separation: Dice on the held-out copies, 0..1.
    """

    part: nn.Module
    separation: float


def untrained_head(predictor: Predictor) -> nn.Module:
    """The convolutional head for one structure, on the predictor's device."""
    return PlainHead(predictor.sam.mask_decoder.iou_token.weight.shape[1], 1).to(predictor.device)


def window_side(masks: Sequence[np.ndarray], spacing: tuple[float, float], extents: float) -> float:
    """Side in millimetres of the window that shows the structure, from its (rows, columns) bool masks."""
    return max(extents * max(e * s for e, s in zip(mask_extent(mask)[1], spacing)) for mask in masks)


def window_frame(
    centre: tuple[float, float], side_mm: float, shape: tuple[int, int], spacing: tuple[float, float], size: int
) -> Frame:
    """The window around a centre (row, column in pixels); the whole slice where the window would be as large.

    Centres are rounded to a 16th of the side, so that neighbouring masks and runs share one embedding.
    """
    if side_mm >= max(n * s for n, s in zip(shape, spacing)):
        return Frame.full(shape, spacing, size)
    strides = [side_mm / 16 / s for s in spacing]
    return Frame.around(tuple(round(c / d) * d for c, d in zip(centre, strides)), side_mm, spacing, size)


def fit_on_copies(
    part: nn.Module,
    predictor: Predictor,
    slices: np.ndarray,
    masks: Mapping[int, np.ndarray],
    spacing: tuple[float, float],
    settings: OneSliceSettings,
    seed: int,
    progress: Progress,
) -> FittedPart:
    """Fit a part on augmented copies of the annotated slices.

    Args:
        part: untrained, on the predictor's device; sees embeddings only.
        predictor: the frozen SAM.
        slices: (slices, rows, columns) float32 in 0..1.
        masks: annotated slice -> (rows, columns) bool, none empty.
        spacing: millimetres per (row, column).
        settings: how.
        seed: of copies and training.
        progress: told of each batch and step.

    Raises:
        Cancelled: the user asked for it.
    """
    maker = _CopyMaker(predictor, slices, masks, spacing, settings, seed)
    learn = maker.make(settings.copies, progress)
    check = maker.make(settings.held_out, progress)
    training = Training(part, learn, check, 1, settings.fit, seed, predictor.device)
    state = training.run(progress, phase="learning from the annotated slice")
    part.load_state_dict(state.best)
    return FittedPart(part.eval().requires_grad_(False), max(point.dice for point in state.curve))


class _CopyMaker:
    """Makes encoded copies; arguments as for :func:`fit_on_copies`."""

    def __init__(
        self,
        predictor: Predictor,
        slices: np.ndarray,
        masks: Mapping[int, np.ndarray],
        spacing: tuple[float, float],
        settings: OneSliceSettings,
        seed: int,
    ) -> None:
        self._predictor, self._spacing, self._settings = predictor, spacing, settings
        self._change = functools.partial(augmented_pair, look=settings.look)
        self._indices, shape = sorted(masks), slices.shape[1:]
        labels = np.stack([np.asarray(masks[index], np.uint8) for index in self._indices])
        whole = Frame.full(shape, spacing, predictor.frame_size)
        self._case = Case(slices[self._indices], labels, whole, whole)
        self._side = window_side([masks[index] for index in self._indices], spacing, settings.extents)
        self._rng, self._generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)

    def make(self, count: int, progress: Progress) -> Examples:
        """``count`` copies, each annotated slice as often as any other."""
        predictor, inputs, labels = self._predictor, [], []
        for start in range(0, count, predictor.batch):
            progress.step("copying the annotated slice", start, count)
            pairs = []
            for number in range(start, min(count, start + predictor.batch)):
                which = number % len(self._indices)
                frame = self._window(self._case.labels[which] > 0)
                drawn = changed_example(self._case, which, frame, 1, predictor.mask_size, self._generator, self._change)
                pairs.append(drawn)
            # Through half precision, as slices are kept.
            inputs.append(Inputs(predictor.encode(torch.stack([image for image, _ in pairs]))).half())
            labels += [label for _, label in pairs]
        return Examples(Inputs.joined(inputs), torch.stack(labels))

    def _window(self, mask: np.ndarray) -> Frame:
        shape, pixels = mask.shape, [self._side / s for s in self._spacing]
        if self._rng.random() < self._settings.elsewhere:
            centre = tuple(self._rng.uniform(0, n) for n in shape)
        else:
            centre = tuple(
                c + self._rng.normal(0, self._settings.shift) * p for c, p in zip(mask_extent(mask)[0], pixels)
            )
        return window_frame(centre, self._side, shape, self._spacing, self._predictor.frame_size)
