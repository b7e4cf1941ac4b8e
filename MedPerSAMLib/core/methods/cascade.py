"""PerSAM's cascaded post-refinement: a mask becomes the prompt of the next pass.

Zhang et al., ICLR 2024, section 3.2; PerSAM and PerSAM-F share it.
"""

from __future__ import annotations

import torch

from MedPerSAMLib.core.sam.predictor import Decoded, Predictor, Prompts


def best_of(decoded: Decoded) -> Decoded:
    """The mask of highest predicted IoU of each target: logits (B, 1, m, m), predicted IoU (B, 1)."""
    best = decoded.predicted_iou.argmax(dim=1)
    rows = torch.arange(len(best), device=best.device)
    return Decoded(decoded.logits[rows, best][:, None], decoded.predicted_iou[rows, best][:, None])


def refine_with_box(
    predictor: Predictor,
    embeddings: torch.Tensor,
    points: torch.Tensor,
    labels: torch.Tensor,
    previous: Decoded,
    on_image: torch.Tensor,
) -> Decoded:
    """One pass with the points, the tight box of the previous mask and its logits; the best of three masks.

    Args:
        predictor: the frozen SAM.
        embeddings: (B, C, e, e).
        points: (B, N, 2) (x, y) in frame pixels.
        labels: (B, N).
        previous: logits (B, 1, m, m) and predicted IoU (B, 1).
        on_image: (m, m) bool; a box never reaches into padding.

    Returns:
        Logits (B, 1, m, m) and predicted IoU (B, 1). Where the previous mask is empty there is no box, and it stays.
    """
    boxes, found = _tight_boxes((previous.logits[:, 0] > 0) & on_image, predictor.frame_size / predictor.mask_size)
    refined = best_of(
        predictor.decode(embeddings, Prompts(points, labels, boxes, previous.logits), multimask=True)
    )
    return Decoded(
        torch.where(found[:, None, None, None], refined.logits, previous.logits),
        torch.where(found[:, None], refined.predicted_iou, previous.predicted_iou),
    )


def _tight_boxes(masks: torch.Tensor, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes (B, 4) in frame pixels of (B, m, m) bool masks, and which masks (B,) have any pixel."""
    ends = []
    for across in (1, 2):
        line = masks.any(dim=across).float()
        ends.append((line.argmax(dim=1), line.shape[1] - line.flip(1).argmax(dim=1)))
    (left, right), (top, bottom) = ends
    return torch.stack([left, top, right, bottom], dim=1).float() * scale, masks.flatten(1).any(dim=1)
