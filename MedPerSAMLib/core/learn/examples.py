"""Frames to learn from: slices of the finished cases, each copy bent, turned and lit differently."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from MedPerSAMLib.core.frame import Frame
from MedPerSAMLib.core.intensity import normalise_volume
from MedPerSAMLib.core.learn.changes import changed_pair
from MedPerSAMLib.core.learn.labelled import LabelledVolume
from MedPerSAMLib.core.learn.settings import FitSettings
from MedPerSAMLib.core.learn.view import View


@dataclass(frozen=True)
class Case:
    """A finished case, ready to be looked at.

    Attributes:
        slices: (slices, rows, columns) float32 in 0..1.
        labels: (slices, rows, columns) uint8.
        whole: the window that holds a whole slice.
        frame: the window in which the structures are learned: the closer one where there is one, else the whole.
    """

    slices: np.ndarray
    labels: np.ndarray
    whole: Frame
    frame: Frame

    @classmethod
    def of(cls, labelled: LabelledVolume, view: View, frame_size: int) -> Case:
        """Normalise a labelled volume and choose its windows."""
        labels = labelled.labels.astype(np.uint8)
        spacing = labelled.volume.spacing[1:]
        whole = Frame.full(labels.shape[1:], spacing, frame_size)
        closer = view.closer(labels > 0, spacing, frame_size)
        return cls(normalise_volume(labelled.volume.array), labels, whole, whole if closer is None else closer)


Change = Callable[[torch.Tensor, torch.Tensor, torch.Generator], tuple[torch.Tensor, torch.Tensor]]
"""(frame, masks, generator) -> a changed copy of both."""

Place = tuple[int, int]
"""(number of the case, slice)."""


def split(cases: Sequence[Case], settings: FitSettings) -> tuple[list[Place], list[Place]]:
    """Slices to learn from and slices held out, evenly spread over every case."""
    learn, check = [], []
    for number, case in enumerate(cases):
        for index in range(len(case.slices)):
            held = len(case.slices) >= 2 * settings.held_out and index % settings.held_out == settings.held_out // 2
            (check if held else learn).append((number, index))
    if not check:
        # So few slices that none can be spared: they are looked at unchanged, while the training sees changed copies.
        check = list(learn)
    return learn, check


def draw_places(cases: Sequence[Case], places: Sequence[Place], count: int, share: float, seed: int) -> list[Place]:
    """``count`` slices to make examples of: each as often as any other of its kind, ``share`` of them without structures."""
    rng = np.random.default_rng(seed)
    full = [place for place in places if cases[place[0]].labels[place[1]].any()]
    empty = [place for place in places if not cases[place[0]].labels[place[1]].any()]
    wanted_empty = round(share * count) if empty and full else (0 if full else count)
    drawn = _evenly(full, count - wanted_empty, rng) + _evenly(empty, wanted_empty, rng)
    return [drawn[i] for i in rng.permutation(len(drawn))]


def _evenly(places: Sequence[Place], count: int, rng: np.random.Generator) -> list[Place]:
    if not places:
        return []
    rounds = [rng.permutation(len(places)) for _ in range(-(-count // len(places)))]
    return [places[i] for i in np.concatenate(rounds)[:count]] if count else []


def changed_example(
    case: Case,
    index: int,
    frame: Frame,
    classes: int,
    mask_size: int,
    generator: torch.Generator,
    change: Change = changed_pair,
) -> tuple[torch.Tensor, torch.Tensor]:
    """A changed copy of slice ``index``, changed by ``change``.

    Returns:
        the frame (1, s, s) float32 in 0..1 and its labels (mask_size, mask_size) uint8.
    """
    image, masks = _sample(case, index, frame, classes)
    image, masks = change(image, masks, generator)
    return image[0], _to_labels(masks, mask_size)


def plain_example(
    case: Case, index: int, frame: Frame, classes: int, mask_size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Slice ``index`` as it is; returns as :func:`changed_example`."""
    image, masks = _sample(case, index, frame, classes)
    return image[0], _to_labels(masks, mask_size)


def _sample(case: Case, index: int, frame: Frame, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(1, 1, s, s) image and (1, 1 + classes, s, s) share of each class, background first."""
    image = frame.sample(torch.from_numpy(np.ascontiguousarray(case.slices[index]))[None, None])
    labels = torch.from_numpy(case.labels[index].astype(np.int64))
    masks = frame.sample(F.one_hot(labels, classes + 1).movedim(-1, 0)[None].float())
    masks[:, 0] += 1 - masks.sum(dim=1)  # beyond the slice lies background
    return image, masks


def _to_labels(masks: torch.Tensor, size: int) -> torch.Tensor:
    return F.adaptive_avg_pool2d(masks, size)[0].argmax(dim=0).to(torch.uint8)
