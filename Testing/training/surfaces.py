"""What light and sound make of surfaces, by the way that they look: walls in ultrasound, bumps under an endoscope's lamp."""

from __future__ import annotations

import torch

from Testing.training.fields import Random, enlarge
from Testing.training.shapes import ORGANS, Scene


def _normals(scene: Scene, slots: torch.Tensor) -> torch.Tensor:
    """Where the surface of the shape at each pixel looks in the slice: (n, S, 2, h, w) as (x, y), of length 1 at most."""
    down, across = torch.gradient(scene.levels, dim=(-2, -1))
    normals = torch.stack([across, down]) / (across**2 + down**2).sqrt().clamp(min=1e-4)
    found = [enlarge(part, slots.shape[-1]).gather(2, slots[:, :, None])[:, :, 0].float() for part in normals]
    return torch.stack(found, dim=2)


def facing_the_beam(random: Random, scene: Scene, slots: torch.Tensor) -> torch.Tensor:
    """(n, S, h, w) how much of a wall ultrasound shows: all of what lies across the beam, often little of what lies along it."""
    n = len(slots)
    along = (1 - _normals(scene, slots)[:, :, 1] ** 2).clamp(0, 1)
    lost = random.uniform(0, 1, n, 1, 1, 1) * random.chance(0.75, n, 1, 1, 1)
    return 1 - lost * along ** random.log_uniform(0.5, 3, n, 1, 1, 1)


def bumps(random: Random, scene: Scene, slots: torch.Tensor, depth: torch.Tensor) -> torch.Tensor:
    """(n, S, h, w) light on what stands out, brighter on one side than on the other."""
    n = len(slots)
    angle = random.uniform(0, 6.2832, n, 1, 1, 1)
    normals = _normals(scene, slots)
    towards = normals[:, :, 0] * angle.cos() + normals[:, :, 1] * angle.sin()
    slope = torch.exp(-((depth / random.log_uniform(0.03, 0.3, n, 1, 1, 1)) ** 2))
    organ = (slots >= ORGANS[0]) & (slots <= ORGANS[-1])
    return 1 + random.uniform(0, 0.45, n, 1, 1, 1) * towards * slope * organ


def tube_ahead(random: Random, n: int, size: int) -> torch.Tensor:
    """(n, 1, size, size) light, of which in some volumes a tube that leads away takes most in one place."""
    axis = torch.linspace(-1, 1, size, device=random.device)
    place = random.uniform(-1, 1, n, 2)
    distance = ((axis.view(1, -1, 1) - place[:, :1, None]) ** 2 + (axis.view(1, 1, -1) - place[:, 1:, None]) ** 2).sqrt()
    ahead = torch.sigmoid(random.log_uniform(6, 20, n, 1, 1) * (random.uniform(0.1, 0.4, n, 1, 1) - distance))
    return 1 - 0.85 * (ahead * random.chance(0.35, n, 1, 1))[:, None]
