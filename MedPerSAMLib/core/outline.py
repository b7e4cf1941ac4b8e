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
"""Part of the frame's side that the shape's box spans (METHOD.md section 1, Frame)."""

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
    (row, column), extent = mask_extent(shape)
    side = zoom_side_mm((extent[0] * spacing[0], extent[1] * spacing[1]), BOX_SHARE)
    frame = Frame.around((row, column), side, spacing, predictor.frame_size)
    corners = [[row - extent[0] / 2, column - extent[1] / 2], [row + extent[0] / 2, column + extent[1] / 2]]
    boxes = torch.tensor(frame.to_frame(np.array(corners)).reshape(1, 4).copy(), dtype=torch.float32)
    logits = None
    if shape.sum() < RECTANGULAR * extent[0] * extent[1]:
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
