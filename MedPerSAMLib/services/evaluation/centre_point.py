"""The frozen model given one true point on each slice: what a prompt generator has to beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from MedPerSAMLib.core.intensity import normalise_volume
from MedPerSAMLib.core.task import Propagation, Volume
from MedPerSAMLib.services.evaluation.prompt_frames import deepest_point

if TYPE_CHECKING:
    from MedPerSAMLib.core.frame import Frame
    from MedPerSAMLib.core.learn.labelled import LabelledVolume
    from MedPerSAMLib.core.progress import Progress
    from MedPerSAMLib.core.sam.predictor import Predictor

_BATCH = 8


def frame_of(training: Sequence[LabelledVolume], volume: Volume, truth: np.ndarray, size: int) -> Frame:
    """The window in which the learned methods segment, placed by the truth of the test case.

    Args:
        training: cases whose structures' size decides how close the window is.
        volume: the test case.
        truth: (slices, rows, columns) bool, where any of its structures is.
        size: frame pixels along each side.
    """
    from MedPerSAMLib.core.frame import Frame
    from MedPerSAMLib.core.learn.view import View

    view = View.of([case.labels > 0 for case in training], [case.volume.spacing[1:] for case in training])
    closer = view.closer(truth, volume.spacing[1:], size)
    return Frame.full(truth.shape[1:], volume.spacing[1:], size) if closer is None else closer


def segment_by_centres(
    predictor: Predictor, volume: Volume, truths: Mapping[str, np.ndarray], frame: Frame, progress: Progress
) -> dict[str, Propagation]:
    """Prompt each slice that holds a structure with the structure's deepest point.

    Slices without it are not asked about and stay empty, and the window lies where the truth is: both favour this over a
    method that has to find out by itself. Of the three masks the one with the best predicted IoU is taken, as in protocol
    ``prompts``; that IoU is the confidence.

    Args:
        predictor: the frozen SAM.
        volume: the test case.
        truths: name of a structure -> (slices, rows, columns) bool.
        frame: the window.
        progress: told of each batch.

    Returns:
        name of a structure -> its result.
    """
    import torch

    slices = normalise_volume(volume.array)
    masks = {name: np.zeros(truth.shape, bool) for name, truth in truths.items()}
    confidence = {name: np.ones(len(slices), np.float32) for name in truths}
    shown = np.flatnonzero(np.any([truth.any(axis=(1, 2)) for truth in truths.values()], axis=0))
    for start in range(0, len(shown), _BATCH):
        progress.step("prompting", start, len(shown))
        indices = shown[start : start + _BATCH]
        embeddings = predictor.encode(frame.sample(torch.from_numpy(slices[indices])[:, None]))
        for name, truth in truths.items():
            rows = np.flatnonzero(truth[indices].any(axis=(1, 2)))
            if not len(rows):
                continue
            points = [frame.to_frame(deepest_point(truth[k], volume.spacing[1:])) for k in indices[rows]]
            found, iou = _decode(
                predictor, embeddings[torch.from_numpy(rows)], np.array(points), frame, truth.shape[1:]
            )
            masks[name][indices[rows]], confidence[name][indices[rows]] = found, iou
    everywhere = np.ones(len(slices), bool)
    return {
        name: Propagation(mask, confidence[name], mask.any(axis=(1, 2)), everywhere) for name, mask in masks.items()
    }


def _decode(
    predictor: Predictor, embeddings: object, points: np.ndarray, frame: Frame, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """(B, rows, columns) bool masks and (B,) predicted IoU of one point (x, y) in frame pixels for each embedding."""
    import torch

    from MedPerSAMLib.core.sam.predictor import Prompts

    prompts = Prompts(
        torch.from_numpy(points.astype(np.float32))[:, None], torch.ones(len(points), 1, dtype=torch.int64)
    )
    decoded = predictor.decode(embeddings, prompts, multimask=True)
    best = decoded.predicted_iou.argmax(dim=1, keepdim=True)
    logits = decoded.logits.take_along_dim(best[..., None, None], dim=1).cpu().float()
    masks = frame.restore(logits, shape, outside=-10.0)[:, 0].numpy() > 0
    return masks, decoded.predicted_iou.take_along_dim(best, dim=1)[:, 0].cpu().numpy()
