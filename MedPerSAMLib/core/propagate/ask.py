"""SAM on one slice: a mask becomes mask, point and box prompts of a frozen SAM, whose answer refines the prompts.

METHOD.md section 1, Prompts and Refinement; Figure 1 of Med-PerSAM.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from MedPerSAMLib.core.prompts.points import PointSettings, pad_points, point_prompts
from MedPerSAMLib.core.prompts.prototypes import prototypes
from MedPerSAMLib.core.propagate.recognise import Shown
from MedPerSAMLib.core.sam.predictor import Predictor, Prompts, upsample

Prototype = tuple[torch.Tensor, torch.Tensor]
"""Mean direction (C,) of the embedding inside an annotated mask, and around it."""


@dataclass(frozen=True)
class RefinerSettings:
    """How SAM is asked and how far it is believed.

    Attributes:
        box, mask, points: which prompts are given; a mask is never given alone.
        alternatives: whether the first pass asks for SAM's three masks and takes the likeliest: for masks that lie only roughly in place.
            One that is carried from the next slice says what is meant, and the single mask is then more exact.
        rounds: decoder passes after the first.
        settled: Dice of two passes' masks at which no further pass is made.
        zoom_share: part of the frame's side that the structure's box spans.
        whole_slice_share: where the box spans this part of the whole slice's frame, the whole slice is shown, whose
            embedding serves every structure.
        sharpness: logits of the mask prompt that are tried on the annotated slice.
        fusion: whether SAM is believed as far as it repairs damaged copies of the annotation; else by half in every case.
        limit: largest log-odds that SAM may claim for a pixel.
        weight: of SAM's log-odds where it repairs damaged masks as well as the damage was large.
        least_agreement: Dice with the carried mask below which SAM's answer is a leak or a loss and is dropped.
        area_range: area relative to the carried mask outside which it is dropped as well.
        damaged_copies: of the largest annotated mask, on which sharpness and weight are chosen.
    """

    box: bool = True
    mask: bool = True
    points: bool = True
    alternatives: bool = False
    rounds: int = 2
    settled: float = 0.98
    zoom_share: float = 1 / 2.2
    whole_slice_share: float = 0.33
    sharpness: tuple[float, ...] = (1.0, 2.0, 4.0, 6.0, 8.0, 10.0)
    fusion: bool = True
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

    def ask_all(self, questions: Sequence[tuple[int, np.ndarray, float]]) -> list[Answer]:
        """SAM's masks on slices, each prompted by a non-empty (rows, columns) bool mask on the working grid.

        Args:
            questions: (slice index, mask, logits of the mask prompt); encoded and decoded together.
        """
        batch = self._predictor.batch
        parts = (questions[start : start + batch] for start in range(0, len(questions), batch))
        return [
            answer
            for part in parts
            for answer in self._ask_batch([(index, mask) for index, mask, _ in part], [sharpness for *_, sharpness in part])
        ]

    def ask_by_box(self, index: int, mask: np.ndarray) -> Answer:
        """SAM's mask of what the box of a non-empty (rows, columns) bool mask holds.

        The mask itself is not given; it only helps to choose among SAM's three, before SAM is asked again about its own answer. So
        SAM may follow an edge far from the mask's.
        """
        return self._ask_batch([(index, mask)], None)[0]

    def _ask_batch(
        self, questions: Sequence[tuple[int, np.ndarray]], sharpness: Sequence[float] | None
    ) -> list[Answer]:
        """Answers to (slice index, mask); ``sharpness`` of each mask prompt, None to give the masks' boxes alone."""
        frames = [self._frames(mask) for _, mask in questions]
        embeddings = self._embedder.embed_each([(i, shown) for (i, _), (shown, _) in zip(questions, frames)])
        size = self._predictor.mask_size
        soft = [
            on_grid.sample(torch.from_numpy(mask.astype(np.float32))[None, None])
            for (_, mask), (_, on_grid) in zip(questions, frames)
        ]
        prompted = [_on_prompt_grid(one, size) for one in soft]
        if sharpness is None:
            prompts = Prompts(boxes=self._boxes(prompted))
        else:
            given = torch.cat([mask_prompt(one, logit, size) for one, logit in zip(soft, sharpness)])
            prompts = self._prompts(embeddings, prompted, given)
        several = sharpness is None or self._settings.alternatives
        decoded = self._predictor.decode(embeddings, prompts, multimask=several)
        answers = zip(decoded.logits, decoded.predicted_iou, prompted)
        chosen = [_likeliest(*row) if several else 0 for row in answers]
        logits = torch.stack([row[best] for row, best in zip(decoded.logits, chosen)])
        ious = [float(row[best]) for row, best in zip(decoded.predicted_iou, chosen)]
        going = list(range(len(questions)))
        for _ in range(self._settings.rounds):
            found = {row: logits[row].cpu().numpy() > 0 for row in going}
            going = [row for row in going if found[row].any()]
            if not going:
                break
            inside = [_inside(found[row], prompted[row]) for row in going]
            again = embeddings[going]
            prompts = self._prompts(again, inside, logits[going][:, None].clamp(-12, 12))
            decoded = self._predictor.decode(again, prompts)
            settled = []
            for row, answer, iou in zip(going, decoded.logits[:, 0], decoded.predicted_iou[:, 0]):
                logits[row], ious[row] = answer, float(iou)
                if dice(answer.cpu().numpy() > 0, found[row]) > self._settings.settled:
                    settled.append(row)
            going = [row for row in going if row not in settled]
        enlarged = upsample(logits[:, None], self._predictor.frame_size).cpu()
        return [
            Answer(on_grid.restore(large[None], mask.shape, -10.0)[0, 0].numpy(), iou)
            for large, iou, (_, mask), (_, on_grid) in zip(enlarged, ious, questions, frames)
        ]

    def _prompts(self, embeddings: torch.Tensor, masks: Sequence[np.ndarray], mask_logits: torch.Tensor) -> Prompts:
        s = self._settings
        boxes = self._boxes(masks) if s.box else None
        points = labels = None
        if s.points or not s.box:
            scores = self._scores(embeddings)
            sets = [
                point_prompts(mask, score, self._scale, s.point_settings, self._seed) for mask, score in zip(masks, scores)
            ]
            points, labels = (torch.from_numpy(part) for part in pad_points(sets))
        return Prompts(points, labels, boxes, mask_logits if s.mask else None)

    def _boxes(self, masks: Sequence[np.ndarray]) -> torch.Tensor:
        return torch.from_numpy(np.stack([box_prompt(mask, self._scale) for mask in masks]))

    @property
    def _scale(self) -> float:
        """Frame pixels per pixel of a mask prompt."""
        return self._predictor.frame_size / self._predictor.mask_size

    def prototype(self, index: int, mask: np.ndarray, about: np.ndarray | None = None) -> Prototype:
        """Mean direction of the embedding inside a (rows, columns) bool mask of slice ``index`` and around it.

        It is seen in the frame that shows ``about``; by default in its own.
        """
        frame, on_grid = self._frames(mask if about is None else about)
        soft = on_grid.sample(torch.from_numpy(mask.astype(np.float32))[None, None])
        inside, around = prototypes(self._embedder.embed([index], frame)[:1].cpu(), soft)
        return inside[0], around[0]

    def show(self, index: int, mask: np.ndarray) -> Shown:
        """A non-empty (rows, columns) bool mask of slice ``index``, as SAM sees it."""
        frame, on_grid = self._frames(mask)
        embedding = self._embedder.embed([index], frame)[0].cpu()
        planes = torch.from_numpy(np.stack([mask, np.ones_like(mask)]).astype(np.float32))
        inside, on_image = F.interpolate(on_grid.sample(planes[:, None]), embedding.shape[-2:], mode="area")[:, 0]
        return Shown(F.normalize(embedding, dim=0), inside, on_image > 0.5)

    def _scores(self, embeddings: torch.Tensor) -> Sequence[np.ndarray | None]:
        """(B, m, m) cosine to the structure's prototype less that to its surroundings' (METHOD.md section 1, g_point)."""
        if not self.prototypes:
            return [None] * len(embeddings)
        directions = F.normalize(embeddings.cpu(), dim=1)
        score = sum(torch.einsum("bchw,c->bhw", directions, inside - around) for inside, around in self.prototypes)
        return upsample(score[:, None] / len(self.prototypes), self._predictor.mask_size)[:, 0].numpy()

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


def _on_prompt_grid(soft: torch.Tensor, size: int) -> np.ndarray:
    """(size, size) bool of a soft mask (1, 1, f, f), never empty."""
    mask = F.interpolate(soft, (size, size), mode="area")[0, 0].numpy() > 0.5
    return mask if mask.any() else F.adaptive_max_pool2d(soft, size)[0, 0].numpy() > 0


def _likeliest(logits: torch.Tensor, predicted_iou: torch.Tensor, prompted: np.ndarray) -> int:
    """Which of three masks (3, m, m) SAM and the prompted mask together speak for."""
    score = predicted_iou.cpu().numpy() + [dice(mask, prompted) for mask in logits.cpu().numpy() > 0]
    return int(np.argmax(score))


def _inside(found: np.ndarray, prompted: np.ndarray) -> np.ndarray:
    """What was found near the prompted mask, from which the next prompts are made; that mask where nothing was."""
    near = ndimage.binary_dilation(prompted, iterations=max(1, round(0.3 * radius(prompted))))
    return found & near if (found & near).any() else prompted


def _scaled(frame: Frame, factors: tuple[float, float]) -> Frame:
    """The same window on a grid with ``factors`` (row, column) times as many pixels."""
    return Frame(
        frame.size,
        (frame.origin[0] * factors[0], frame.origin[1] * factors[1]),
        (frame.step[0] * factors[0], frame.step[1] * factors[1]),
    )
