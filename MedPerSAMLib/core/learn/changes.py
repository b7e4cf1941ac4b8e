"""Changed copies of a labelled frame: other pose, other shape, other contrast [I].

Patients differ by more than the slices of one volume: a heart lies turned by tens of degrees, and its blood is the brightest thing
in one scan and middle grey in the next. From one to five volumes that has to be made up.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from MedPerSAMLib.core.warp.network import warp

ROTATION = math.radians(35)
SCALE = (0.7, 1.4)
SHIFT = 0.2
"""In frame half-widths."""
BEND = 0.04
"""Deviation of the smooth elastic part, in frame half-widths."""
KNOTS = 6
"""Of the random contrast curve, from black to white."""


def changed_pair(
    frame: torch.Tensor, masks: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """A changed copy of a labelled frame.

    Args:
        frame: (1, 1, s, s) in 0..1.
        masks: (1, K, s, s) in 0..1.
        generator: of all that is random, on the CPU.

    Returns:
        the copy and its masks, of the same shapes.
    """
    field = _field(frame.shape[-1], generator).to(frame.device)
    moved, carried = warp(frame, field), warp(masks, field)
    return _relit(moved, generator), carried


def _field(size: int, generator: torch.Generator) -> torch.Tensor:
    """(1, 2, s, s) displacement in frame half-widths."""
    turn, grow, stretch, x, y = (2 * torch.rand(5, generator=generator) - 1).tolist()
    angle = turn * ROTATION
    factor = math.exp(math.log(SCALE[0]) + (grow + 1) / 2 * math.log(SCALE[1] / SCALE[0]))
    wide, high = factor * 1.12**stretch, factor / 1.12**stretch
    matrix = torch.tensor(
        [[[wide * math.cos(angle), -high * math.sin(angle), SHIFT * x],
          [wide * math.sin(angle), high * math.cos(angle), SHIFT * y]]]
    )  # fmt: skip
    grid = F.affine_grid(matrix, (1, 1, size, size), align_corners=False)
    identity = F.affine_grid(torch.eye(2, 3)[None], (1, 1, size, size), align_corners=False)
    bend = F.interpolate(
        torch.randn(1, 2, 6, 6, generator=generator), (size, size), mode="bicubic", align_corners=False
    )
    return (grid - identity).movedim(-1, 1) + BEND * bend


def _relit(frame: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Another contrast curve, a bias field, sharpness and noise."""
    size = frame.shape[-1]
    curve = _curve(generator)
    place = frame.clamp(0, 1) * (KNOTS - 1)
    below = place.floor().long().clamp(max=KNOTS - 2)
    share = place - below
    frame = curve[below] * (1 - share) + curve[below + 1] * share
    bias = F.interpolate(torch.randn(1, 1, 3, 3, generator=generator), (size, size), mode="bicubic", align_corners=True)
    frame = frame * torch.exp(0.15 * bias)
    blurred, noisy = torch.rand(2, generator=generator).tolist()
    if blurred < 0.3:
        frame = F.avg_pool2d(F.pad(frame, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return (frame + 0.04 * noisy * torch.randn(frame.shape, generator=generator)).clamp(0, 1)


def _curve(generator: torch.Generator) -> torch.Tensor:
    """(KNOTS,) rising values: grey levels keep their order, their distances change up to several times."""
    rises = torch.exp(0.8 * torch.randn(KNOTS - 1, generator=generator))
    curve = torch.cat([torch.zeros(1), rises.cumsum(0)]) / rises.sum()
    low, high = torch.rand(2, generator=generator).tolist()
    return 0.15 * low + (1 - 0.15 * low - 0.25 * high) * curve
