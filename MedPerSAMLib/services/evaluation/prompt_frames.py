"""The questions of protocol ``prompts`` in the frames that the model sees, and prompts made from their truth."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from MedPerSAMLib.core.frame import Frame
from MedPerSAMLib.core.outline import box_of, frame_of
from MedPerSAMLib.core.prompts.box import box_prompt
from MedPerSAMLib.services.evaluation.demons import carry_by_demons
from MedPerSAMLib.services.evaluation.prompt_questions import Question

if TYPE_CHECKING:
    import torch

    from MedPerSAMLib.core.sam.predictor import Predictor
    from MedPerSAMLib.core.warp.network import WarpNetwork

BOX_SHIFT_PIXELS = 3.0
"""Each side of a true box is moved by up to this many frame pixels: nobody draws a box exactly."""


class PromptFrames:
    """A batch of B questions, each in a frame of its own.

    Args:
        questions: B of them.
        predictor: the frozen SAM.
        zoomed: frames around the true box, as Snap makes them; else the whole slices.
        seed: of the moved boxes.
    """

    def __init__(self, questions: Sequence[Question], predictor: Predictor, zoomed: bool, seed: int) -> None:
        self.questions, self._predictor, self._zoomed, self._seed = questions, predictor, zoomed, seed
        self._frames = [self._frame(question) for question in questions]

    @functools.cached_property
    def embeddings(self) -> torch.Tensor:
        """(B, C, e, e) of the frames as they are."""
        return self._predictor.encode(self._shown)

    @functools.cached_property
    def views(self) -> tuple[torch.Tensor, ...]:
        """(B, C, e, e) of each of the views of ``core.sam.views``."""
        from MedPerSAMLib.core.sam.views import encode_views

        return encode_views(self._predictor, self._shown, self.embeddings)

    @functools.cached_property
    def _shown(self) -> torch.Tensor:
        """(B, 3, s, s) in 0..1."""
        import torch

        images = [_as_tensor(question.image) for question in self.questions]
        return torch.cat([f.sample(i).expand(-1, 3, -1, -1) for f, i in zip(self._frames, images)])

    def boxes(self) -> torch.Tensor:
        """(B, 4) the true boxes in frame pixels, each side moved by up to BOX_SHIFT_PIXELS.

        A box is moved in the same way whatever else is asked in a run: the seed is drawn from the question's name.
        """
        import torch

        boxes = []
        for question, frame in zip(self.questions, self._frames):
            name = f"{question.case} {question.label} {question.index} {self._zoomed}"
            moved = np.random.default_rng([self._seed, zlib.crc32(name.encode())]).uniform(-1, 1, 4) * BOX_SHIFT_PIXELS
            x0, y0, x1, y1 = box_of(question.truth, frame) + moved
            # A box of a few frame pixels can be turned inside out by the moves.
            boxes.append([min(x0, x1 - 1), min(y0, y1 - 1), max(x1, x0 + 1), max(y1, y0 + 1)])
        return torch.tensor(np.clip(boxes, 0, self._predictor.frame_size), dtype=torch.float32)

    def points(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 1, 2) the deepest point of each structure in frame pixels, and (B, 1) ones, as it is positive."""
        import torch

        points = []
        for question, frame in zip(self.questions, self._frames):
            points.append(frame.to_frame(deepest_point(question.truth, question.spacing)))
        return torch.tensor(np.array(points), dtype=torch.float32)[:, None], torch.ones(
            len(points), 1, dtype=torch.int64
        )

    def carried_by(self, network: WarpNetwork) -> torch.Tensor:
        """(B, 1, m, m) the next slices' true masks carried by one forward pass, in 0..1, at the mask prompt's size."""
        import torch

        from MedPerSAMLib.core.warp.network import warp

        moving, fixed, masks = self._pairs()
        with torch.inference_mode():
            return warp(masks, network(moving, fixed)).clamp(0, 1)

    def carried_by_demons(self) -> torch.Tensor:
        """(B, 1, m, m) the same, carried by SimpleITK's diffeomorphic demons on the same frames."""
        import torch

        carried = [carry_by_demons(*(part[0].numpy() for part in parts)) for parts in zip(*self._pairs())]
        return torch.from_numpy(np.stack(carried))[:, None]

    def boxes_of(self, carried: torch.Tensor) -> torch.Tensor:
        """(B, 4) the box prompts of (B, 1, m, m) soft masks in frame pixels; the frame where a mask is empty."""
        import torch

        size, scale = self._predictor.frame_size, self._predictor.frame_size / carried.shape[-1]
        masks = carried[:, 0].numpy() > 0.5
        return torch.tensor(
            np.array([box_prompt(mask, scale) if mask.any() else (0, 0, size, size) for mask in masks]),
            dtype=torch.float32,
        )

    def restored(self, frames: torch.Tensor, outside: float, threshold: float) -> list[np.ndarray]:
        """(B, 1, m, m) logits or soft masks as (rows, columns) bool masks, true above ``threshold``.

        What lies beyond the frame has the value ``outside``.
        """
        parts = zip(self._frames, frames.cpu().float(), self.questions)
        return [f.restore(part[None], q.truth.shape, outside)[0, 0].numpy() > threshold for f, part, q in parts]

    def _frame(self, question: Question) -> Frame:
        size, spacing = self._predictor.frame_size, question.spacing
        if not self._zoomed:
            return Frame.full(question.truth.shape, spacing, size)
        return frame_of(question.truth, spacing, size)

    def _pairs(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Next slices, slices and next truths in the frames, each (B, 1, m, m) at the mask prompt's size."""
        import torch

        shrink = self._predictor.frame_size // self._predictor.mask_size
        parts = []
        for name in ("next_image", "image", "next_truth"):
            arrays = [_as_tensor(getattr(question, name)) for question in self.questions]
            parts.append(
                torch.nn.functional.avg_pool2d(torch.cat([f.sample(a) for f, a in zip(self._frames, arrays)]), shrink)
            )
        return tuple(parts)


def deepest_point(mask: np.ndarray, spacing: tuple[float, float]) -> np.ndarray:
    """(row, column) of the pixel of a (rows, columns) mask that lies deepest inside, in slice pixels, centres at .5."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=spacing)[1:-1, 1:-1]
    return np.array(np.unravel_index(np.argmax(depth), depth.shape)) + 0.5


def _as_tensor(image: np.ndarray) -> torch.Tensor:
    """(rows, columns) or (rows, columns, 3) as (1, 1 or 3, rows, columns) float32."""
    import torch

    array = np.ascontiguousarray(image, np.float32)
    return torch.from_numpy(array[None] if array.ndim == 2 else array.transpose(2, 0, 1).copy())[None]
