"""The mask prompt: a soft mask as the logits that SAM's prompt encoder expects (METHOD.md section 1, Prompts)."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def mask_prompt(soft: torch.Tensor, sharpness: float, size: int) -> torch.Tensor:
    """Logits of soft masks; what lies outside every structure gets ``-sharpness``, never 0.

    Args:
        soft: (B, 1, f, f) in 0..1, any resolution f.
        sharpness: the logit k of a sure pixel; logits are k (2 m - 1).
        size: resolution of the result, ``Predictor.mask_size``.

    Returns:
        (B, 1, size, size) float32 in -k..k.
    """
    if soft.shape[-1] != size:
        soft = F.interpolate(soft, (size, size), mode="bilinear", align_corners=False, antialias=True)
    return sharpness * (2 * _blur(soft.clamp(0, 1)) - 1)


def _blur(soft: torch.Tensor) -> torch.Tensor:
    """A 3 x 3 binomial blur, so that the prompt has no staircase."""
    taps = torch.tensor([0.25, 0.5, 0.25], device=soft.device)
    kernel = (taps[:, None] * taps[None, :])[None, None]
    return F.conv2d(F.pad(soft, (1, 1, 1, 1), mode="replicate"), kernel)
