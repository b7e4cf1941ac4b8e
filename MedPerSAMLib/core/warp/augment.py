"""Copies of the annotated slice with a known deformation and another look, for L_aug (METHOD.md section 1, Losses)."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from MedPerSAMLib.core.warp.network import warp

ROTATION = math.radians(15)
SCALE = (0.8, 1.25)
SHIFT = 0.1
BEND = 0.03
"""Deviation of the smooth elastic part, in frame half-widths."""
GAMMA = (0.7, 1.5)


def augmented_pair(
    frame: torch.Tensor, mask: torch.Tensor, generator: torch.Generator, look: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """A changed copy of an annotated frame.

    Args:
        frame: (1, 1, s, s) in 0..1.
        mask: (1, 1, s, s) in 0..1.
        generator: of all that is random, on the CPU.
        look: strength of the change of intensities, 0..1; slices of one volume look alike.

    Returns:
        the copy and its mask, both (1, 1, s, s).
    """
    field = _random_field(frame.shape[-1], generator).to(frame.device)
    moved, carried = warp(frame, field), warp(mask, field)
    gamma, gain, offset, slope_y, slope_x = torch.rand(5, generator=generator).tolist()
    ramp = torch.linspace(-1, 1, frame.shape[-1], device=frame.device)
    bias = 1 + 0.3 * look * ((slope_y - 0.5) * ramp[:, None] + (slope_x - 0.5) * ramp[None, :])
    moved = moved.clamp(min=1e-4) ** (1 + look * (GAMMA[0] + (GAMMA[1] - GAMMA[0]) * gamma - 1))
    noise = 0.02 * torch.randn(frame.shape, generator=generator).to(frame.device)
    return ((1 + look * (0.4 * gain - 0.2)) * moved * bias + 0.1 * look * (offset - 0.5) + noise).clamp(0, 1), carried


def _random_field(size: int, generator: torch.Generator) -> torch.Tensor:
    """(1, 2, s, s) displacement in frame half-widths: rotation, scale, shift and a smooth bend."""
    turn, scale, shift_x, shift_y = torch.rand(4, generator=generator).tolist()
    angle = (2 * turn - 1) * ROTATION
    factor = math.exp(math.log(SCALE[0]) + scale * math.log(SCALE[1] / SCALE[0]))
    cosine, sine = factor * math.cos(angle), factor * math.sin(angle)
    matrix = torch.tensor(
        [[[cosine, -sine, 2 * SHIFT * (2 * shift_x - 1)], [sine, cosine, 2 * SHIFT * (2 * shift_y - 1)]]]
    )
    grid = F.affine_grid(matrix, (1, 1, size, size), align_corners=False)
    identity = F.affine_grid(torch.eye(2, 3)[None], (1, 1, size, size), align_corners=False)
    bend = F.interpolate(
        torch.randn(1, 2, 6, 6, generator=generator), (size, size), mode="bicubic", align_corners=False
    )
    return (grid - identity).movedim(-1, 1) + BEND * bend
