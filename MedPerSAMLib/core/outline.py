"""Outline what lies in a rough shape on one slice, so that the first slice need not be drawn with care."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from MedPerSAMLib.core.frame import Frame, mask_extent, zoom_side_mm
from MedPerSAMLib.core.prompts.mask_prompt import mask_prompt
from MedPerSAMLib.core.sam.predictor import Predictor, Prompts
from MedPerSAMLib.core.sam.views import decode_views, encode_views
from MedPerSAMLib.errors import InputError

BOX_SHARE = 1 / 2.2
"""Part of the frame's side that a shape's box spans (METHOD.md section 1, Frame)."""

RECTANGULAR = 0.9
"""A shape that fills this share of its box only says where the structure is, not how it is shaped."""

SHARPNESS = 4.0
"""Logit of the shape as a mask prompt: little, because it is rough."""

_BACKGROUND_LOGIT = -10.0


@dataclass(frozen=True)
class Outline:
    """The structure that was found in a rough shape.

    Attributes:
        mask: (rows, columns) bool, not empty.
        predicted_iou: SAM's own estimate, 0..1.
    """

    mask: np.ndarray
    predicted_iou: float


def frame_of(shape: np.ndarray, spacing: tuple[float, float], size: int) -> Frame:
    """The frame of ``size`` pixels around a non-empty (rows, columns) shape, zoomed on it."""
    centre, extent = mask_extent(shape)
    return Frame.around(centre, zoom_side_mm((extent[0] * spacing[0], extent[1] * spacing[1]), BOX_SHARE), spacing, size)


def box_of(shape: np.ndarray, frame: Frame) -> np.ndarray:
    """(x0, y0, x1, y1) of a non-empty (rows, columns) shape in frame pixels."""
    (row, column), (height, width) = mask_extent(shape)
    corners = [[row - height / 2, column - width / 2], [row + height / 2, column + width / 2]]
    return frame.to_frame(np.array(corners)).reshape(4)


def outline(predictor: Predictor, image: np.ndarray, shape: np.ndarray, spacing: tuple[float, float]) -> Outline:
    """The structure in a rectangle or in a rough shape, by a frozen SAM in a frame zoomed on it.

    The shape's box is the prompt, and unless it is a rectangle, the shape itself as a weak mask prompt; three views are
    asked (``sam.views``).

    Args:
        predictor: the frozen SAM.
        image: (rows, columns) float32 in 0..1.
        shape: (rows, columns) bool, not empty.
        spacing: millimetres per (row, column).

    Raises:
        InputError: SAM finds nothing there.
    """
    frame = frame_of(shape, spacing, predictor.frame_size)
    boxes = torch.tensor(box_of(shape, frame)[None], dtype=torch.float32)
    logits, (_, (height, width)) = None, mask_extent(shape)
    if shape.sum() < RECTANGULAR * height * width:
        soft = frame.sample(torch.from_numpy(shape.astype(np.float32))[None, None])
        logits = mask_prompt(soft, SHARPNESS, predictor.mask_size)
    views = encode_views(predictor, frame.sample(torch.from_numpy(np.ascontiguousarray(image, np.float32))[None, None]))
    answer = decode_views(predictor, views, Prompts(boxes=boxes, mask_logits=logits))
    mask = frame.restore(answer.logits.cpu(), shape.shape, _BACKGROUND_LOGIT)[0, 0].numpy() > 0
    if not mask.any():
        raise InputError(
            "The model finds no structure in the drawn shape; draw it closer around the structure, or outline it by hand."
        )
    return Outline(mask, float(answer.predicted_iou[0, 0]))
