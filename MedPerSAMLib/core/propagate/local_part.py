"""A part that was fitted on the annotated slices, asked about other slices in a window around where the structure was last."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from MedPerSAMLib.core.appearance import ring_around
from MedPerSAMLib.core.embeddings import Embedder
from MedPerSAMLib.core.frame import Frame, mask_extent
from MedPerSAMLib.core.grid import WorkingGrid
from MedPerSAMLib.core.learn.inputs import Inputs
from MedPerSAMLib.core.learn.one_slice import FittedPart, OneSliceSettings, fit_on_copies, window_frame, window_side
from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.core.propagate.chain import Question, Said
from MedPerSAMLib.core.sam.predictor import Predictor
from MedPerSAMLib.core.session import VolumeSession

_FAR = -10.0
"""Log-odds beyond the window: a clear background."""


@dataclass(frozen=True)
class Belief:
    """How far the part is believed.

    Attributes:
        weight: of its log-odds where it separates the held-out copies perfectly.
        limit: largest log-odds that it may claim for a pixel.
        useless: Dice on the held-out copies at which, and below which, it is not believed at all.
    """

    weight: float = 1.0
    limit: float = 3.0
    useless: float = 0.5

    def weight_of(self, separation: float) -> float:
        """The weight of a part that reaches a Dice of ``separation`` on the held-out copies: no other label is needed."""
        return self.weight * max(0.0, (separation - self.useless) / (1 - self.useless))


class LocalPart:
    """Says how much each pixel of a slice looks like the annotated structure.

    Args:
        fitted: the part.
        predictor: the frozen SAM that it was fitted on.
        embedder: of the native slices.
        grid: the working grid, on which masks are given and answered.
        spacing: millimetres per native (row, column).
        side_mm: side of the window, as the part was fitted.
        belief: how far it is believed.
    """

    def __init__(
        self,
        fitted: FittedPart,
        predictor: Predictor,
        embedder: Embedder,
        grid: WorkingGrid,
        spacing: tuple[float, float],
        side_mm: float,
        belief: Belief,
    ) -> None:
        self._fitted, self._predictor, self._embedder = fitted, predictor, embedder
        self._grid, self._spacing, self._side, self._belief = grid, spacing, side_mm, belief
        self.weight = belief.weight_of(fitted.separation)
        self._last: tuple[tuple[int, Frame], np.ndarray] | None = None

    @classmethod
    def fitted_on(
        cls,
        session: VolumeSession,
        masks: Mapping[int, np.ndarray],
        make: Callable[[Predictor], nn.Module],
        learn: OneSliceSettings,
        belief: Belief,
        progress: Progress,
    ) -> LocalPart:
        """Fit a part on annotated slices of a session that has a predictor.

        Args:
            session: of the volume.
            masks: annotated slice -> native (rows, columns) bool.
            make: the unfitted part on a predictor's device; its random weights follow torch's generator.
            learn: how it is fitted.
            belief: how far it is believed.
            progress: told of each step.

        Raises:
            Cancelled: the user asked for it.
        """
        predictor, spacing = session.predictor, session.in_plane_spacing
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(session.seed)
            part = make(predictor)
        fitted = fit_on_copies(part, predictor, session.slices, masks, spacing, learn, session.seed, progress)
        side = window_side(list(masks.values()), spacing, learn.extents)
        return cls(fitted, predictor, session.embedder, session.grid, spacing, side, belief)

    def __call__(self, questions: Sequence[Question]) -> list[Said]:
        """Weighted log-odds in the windows around carried masks, and no figures: the :data:`Refiner` of a chain."""
        limit = self._belief.limit
        return [
            Said(self.weight * np.clip(self.log_odds(index, carried)[window], -limit, limit), {})
            for index, carried, window in questions
        ]

    def log_odds(self, index: int, mask: np.ndarray) -> np.ndarray:
        """(rows, columns) float32 on slice ``index``, seen in a window around a non-empty (rows, columns) bool mask."""
        pixel = self._grid.pixel
        centre = [c * pixel / s for c, s in zip(mask_extent(mask)[0], self._spacing)]
        frame = window_frame(
            tuple(centre), self._side, self._grid.native_shape, self._spacing, self._predictor.frame_size
        )
        key = (index, frame)
        if self._last is None or self._last[0] != key:
            self._last = key, self._answer(index, frame)
        return self._last[1]

    def contrast(self, index: int, mask: np.ndarray) -> float:
        """Mean probability inside a mask on slice ``index`` less that in the ring around it, -1..1."""
        log_odds, ring = np.clip(self.log_odds(index, mask), -20, 20), ring_around(mask, 0.5)
        probability = 1 / (1 + np.exp(-log_odds))
        return float(probability[mask].mean() - (probability[ring].mean() if ring.any() else 0.0))

    def _answer(self, index: int, frame: Frame) -> np.ndarray:
        embedding = self._embedder.embed([index], frame)
        with torch.no_grad():
            logits = self._fitted.part(Inputs(embedding)).cpu()
        log_odds = logits[:, 1:2] - logits[:, :1]
        native = frame.restore(log_odds, self._grid.native_shape, _FAR)[0].numpy()
        return self._grid.from_native(native)[0]
