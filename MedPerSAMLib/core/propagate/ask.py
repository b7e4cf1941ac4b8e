"""SAM on one slice: a mask becomes mask, point and box prompts of a frozen SAM, whose answer refines the prompts.

METHOD.md section 1, Prompts and Refinement; Figure 1 of Med-PerSAM.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional as F

from MedPerSAMLib.core.appearance import radius
from MedPerSAMLib.core.embeddings import Embedder
from MedPerSAMLib.core.frame import Frame, mask_extent
from MedPerSAMLib.core.grid import WorkingGrid
from MedPerSAMLib.core.overlap import dice
from MedPerSAMLib.core.prompts.box import box_prompt
from MedPerSAMLib.core.prompts.mask_prompt import mask_prompt
from MedPerSAMLib.core.prompts.points import PointSettings, point_prompts
from MedPerSAMLib.core.sam.predictor import Predictor, Prompts, upsample

Prototype = tuple[torch.Tensor, torch.Tensor]
"""Mean direction (C,) of the embedding inside an annotated mask, and around it."""


@dataclass(frozen=True)
class RefinerSettings:
    """How SAM is asked and how far it is believed.

    Attributes:
        box, mask, points: which prompts are given; a mask is never given alone.
        rounds: decoder passes after the first.
        settled: Dice of two passes' masks at which no further pass is made.
        zoom_share: part of the frame's side that the structure's box spans.
        whole_slice_share: where the box spans this part of the whole slice's frame, the whole slice is shown, whose
            embedding serves every structure.
        sharpness: logits of the mask prompt that are tried on the annotated slice.
        limit: largest log-odds that SAM may claim for a pixel.
        weight: of SAM's log-odds where it repairs damaged masks as well as the damage was large.
        least_agreement: Dice with the carried mask below which SAM's answer is a leak or a loss and is dropped.
        area_range: area relative to the carried mask outside which it is dropped as well.
        damaged_copies: of each annotated mask, on which sharpness and weight are chosen.
    """

    box: bool = True
    mask: bool = True
    points: bool = True
    rounds: int = 1
    settled: float = 0.98
    zoom_share: float = 1 / 2.2
    whole_slice_share: float = 0.33
    sharpness: tuple[float, ...] = (4.0, 6.0, 8.0, 10.0)
    limit: float = 3.0
    weight: float = 0.8
    least_agreement: float = 0.5
    area_range: tuple[float, float] = (0.4, 2.5)
    damaged_copies: int = 4
    point_settings: PointSettings = PointSettings()


@dataclass(frozen=True)
class Answer:
    """SAM's answer on one slice.

    Attributes:
        log_odds: (rows, columns) float32 on the working grid, about -10 far outside the frame.
        predicted_iou: SAM's own estimate, 0..1.
    """

    log_odds: np.ndarray
    predicted_iou: float


class Questioner:
    """Asks a frozen SAM about one structure on the slices or images of one embedder.

    Args:
        predictor: the frozen SAM.
        embedder: of the native slices.
        grid: the working grid, on which masks are given and answered.
        spacing: millimetres per native (row, column).
        settings: how SAM is asked.
        seed: of the division into point cells.
    """

    def __init__(
        self,
        predictor: Predictor,
        embedder: Embedder,
        grid: WorkingGrid,
        spacing: tuple[float, float],
        settings: RefinerSettings,
        seed: int,
    ) -> None:
        self._predictor, self._embedder, self._grid, self._spacing = predictor, embedder, grid, spacing
        self._settings, self._seed = settings, seed
        self.prototypes: list[Prototype] = []
        """What the structure's embedding looks like; empty where nothing is known of it."""

    def ask(self, index: int, mask: np.ndarray, sharpness: float) -> Answer:
        """SAM's mask on slice ``index``, prompted by a non-empty (rows, columns) bool mask on the working grid."""
        frame, on_grid = self._frames(mask)
        embedding = self._embedder.embed([index], frame)
        soft = on_grid.sample(torch.from_numpy(mask.astype(np.float32))[None, None])
        size = self._predictor.mask_size
        prompt_mask = F.interpolate(soft, (size, size), mode="area")[0, 0].numpy() > 0.5
        if not prompt_mask.any():
            prompt_mask = F.adaptive_max_pool2d(soft, size)[0, 0].numpy() > 0
        prompts = self._prompts(embedding, prompt_mask, mask_prompt(soft, sharpness, size))
        decoded = self._predictor.decode(embedding, prompts, multimask=True)
        score = decoded.predicted_iou[0].cpu().numpy() + [
            dice(m, prompt_mask) for m in decoded.logits[0].cpu().numpy() > 0
        ]
        best = int(np.argmax(score))
        logits, iou = decoded.logits[:, best : best + 1], float(decoded.predicted_iou[0, best])
        for _ in range(self._settings.rounds):
            found = logits[0, 0].cpu().numpy() > 0
            if not found.any():
                break
            near = ndimage.binary_dilation(prompt_mask, iterations=max(1, round(0.3 * radius(prompt_mask))))
            inside = found & near if (found & near).any() else prompt_mask
            decoded = self._predictor.decode(embedding, self._prompts(embedding, inside, logits.clamp(-12, 12)))
            settled = dice(decoded.logits[0, 0].cpu().numpy() > 0, found) > self._settings.settled
            logits, iou = decoded.logits, float(decoded.predicted_iou[0, 0])
            if settled:
                break
        enlarged = upsample(logits, self._predictor.frame_size).cpu()
        return Answer(on_grid.restore(enlarged, mask.shape, -10.0)[0, 0].numpy(), iou)

    def _prompts(self, embedding: torch.Tensor, mask: np.ndarray, mask_logits: torch.Tensor) -> Prompts:
        s = self._settings
        scale = self._predictor.frame_size / self._predictor.mask_size
        boxes = torch.from_numpy(box_prompt(mask, scale))[None] if s.box else None
        points = labels = None
        if s.points or not s.box:
            places, kinds = point_prompts(mask, self._score(embedding), scale, s.point_settings, self._seed)
            points, labels = torch.from_numpy(places)[None], torch.from_numpy(kinds)[None]
        return Prompts(points, labels, boxes, mask_logits if s.mask else None)

    def prototype(self, index: int, mask: np.ndarray) -> Prototype:
        """Mean direction of the embedding inside a (rows, columns) bool mask of slice ``index`` and around it."""
        frame, on_grid = self._frames(mask)
        embedding = F.normalize(self._embedder.embed([index], frame)[0].cpu(), dim=0)
        size = embedding.shape[-1]
        soft = on_grid.sample(torch.from_numpy(mask.astype(np.float32))[None, None])
        inside = F.interpolate(soft, (size, size), mode="area")[0, 0]
        around = (F.max_pool2d(inside[None], 5, 1, 2)[0] > 0) & (inside <= 0)
        weights = inside if inside.sum() > 0 else F.adaptive_max_pool2d(soft, size)[0, 0]
        return tuple(F.normalize((embedding * w).sum(dim=(1, 2)), dim=0) for w in (weights, around.float()))

    def _score(self, embedding: torch.Tensor) -> np.ndarray | None:
        """(m, m) cosine to the structure's prototype less that to its surroundings' (METHOD.md section 1, g_point)."""
        if not self.prototypes:
            return None
        directions = F.normalize(embedding.cpu(), dim=1)
        score = sum(torch.einsum("bchw,c->bhw", directions, inside - around) for inside, around in self.prototypes)
        return upsample(score[:, None] / len(self.prototypes), self._predictor.mask_size)[0, 0].numpy()

    def _frames(self, mask: np.ndarray) -> tuple[Frame, Frame]:
        """The frame that shows a mask, in native slice pixels and in working pixels.

        Sizes and centres are rounded, so that the masks of neighbouring rounds and runs share one embedding.
        """
        size, pixel = self._predictor.frame_size, self._grid.pixel
        full = Frame.full(self._grid.native_shape, self._spacing, size)
        whole_mm = full.step[0] * self._spacing[0] * size
        centre, extent = mask_extent(mask)
        side_mm = max(max(extent) * pixel / self._settings.zoom_share, 16 * pixel)
        if max(extent) * pixel >= self._settings.whole_slice_share * whole_mm or side_mm >= whole_mm:
            return full, _scaled(full, self._grid.factors)
        side_mm = float(2 ** (round(np.log2(side_mm) * 4) / 4))
        stride = side_mm / 16 / pixel
        centre = tuple(round(c / stride) * stride for c in centre)
        on_grid = Frame.around(centre, side_mm, (pixel, pixel), size)
        return _scaled(on_grid, tuple(1 / f for f in self._grid.factors)), on_grid


def _scaled(frame: Frame, factors: tuple[float, float]) -> Frame:
    """The same window on a grid with ``factors`` (row, column) times as many pixels."""
    return Frame(
        frame.size,
        (frame.origin[0] * factors[0], frame.origin[1] * factors[1]),
        (frame.step[0] * factors[0], frame.step[1] * factors[1]),
    )
