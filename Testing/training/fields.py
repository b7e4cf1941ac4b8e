"""Smooth random fields and small image operations on whole batches."""

from __future__ import annotations

import functools
import math

import torch
from torch.nn import functional as F


@functools.lru_cache(maxsize=128)
def spline_matrix(size: int, cells: int, device: str) -> torch.Tensor:
    """(size, cells + 3) cubic B-spline weights that spread ``cells + 3`` control values over ``size`` pixels."""
    position = (torch.arange(size, device=device) + 0.5) / size * cells
    distance = (position[:, None] - (torch.arange(cells + 3, device=device)[None] - 1)).abs()
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = (2 - distance).clamp(min=0) ** 3 / 6
    return _finished(torch.where(distance < 1, near, far))


def _finished(cached: torch.Tensor) -> torch.Tensor:
    """The tensor, once the device has computed it: what is cached may next be read on another stream."""
    if cached.is_cuda:
        torch.cuda.current_stream().synchronize()
    return cached


class Random:
    """Draws of a seeded torch generator on one device; single numbers come from the CPU, so that none waits for a GPU."""

    def __init__(self, seed: int, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)
        self.generator = torch.Generator(self.device).manual_seed(seed)
        on_cpu = self.device.type == "cpu"
        self._host = self.generator if on_cpu else torch.Generator().manual_seed(seed)

    def uniform(self, low: float, high: float, *shape: int) -> torch.Tensor:
        """Uniform in low..high."""
        return torch.rand(shape, generator=self.generator, device=self.device) * (high - low) + low

    def log_uniform(self, low: float, high: float, *shape: int) -> torch.Tensor:
        """Uniform in the logarithm between low and high, both positive."""
        return self.uniform(math.log(low), math.log(high), *shape).exp()

    def normal(self, *shape: int) -> torch.Tensor:
        """Standard normal."""
        return torch.randn(shape, generator=self.generator, device=self.device)

    def chance(self, probability: float, *shape: int) -> torch.Tensor:
        """Bool, true with the given probability."""
        return torch.rand(shape, generator=self.generator, device=self.device) < probability

    def integers(self, low: int, high: int, *shape: int) -> torch.Tensor:
        """Integers in low..high - 1."""
        return torch.randint(low, high, shape, generator=self.generator, device=self.device)

    def scalar(self, low: float, high: float) -> float:
        """One number, uniform."""
        return float(torch.rand(1, generator=self._host) * (high - low) + low)

    def happens(self, probability: float) -> bool:
        """One draw of an event."""
        return bool(torch.rand(1, generator=self._host) < probability)

    def choice(self, options: list, weights: list[float] | None = None):
        """One of the options."""
        weight = torch.ones(len(options)) if weights is None else torch.tensor(weights)
        return options[int(torch.multinomial(weight, 1, generator=self._host))]

    def number(self, low: int, high: int) -> int:
        """One integer in low..high - 1."""
        return int(torch.randint(low, high, (1,), generator=self._host))

    def smooth(self, shape: tuple[int, ...], size: int, cells: int) -> torch.Tensor:
        """(*shape, size, size) smooth normal fields (about unit variance) with about ``cells`` bumps along a side."""
        values = self.normal(*shape, cells + 3, cells + 3) * 2.1
        weights = spline_matrix(size, cells, str(self.device))
        return weights @ values @ weights.T


def turn(basis: torch.Tensor, phase: torch.Tensor) -> torch.Tensor:
    """A field that changes with depth: (n, 2, ...) independent fields, (n, S) phases -> (n, S, ...).

    Two slices whose phases differ by d correlate by cos(d).
    """
    shape = (*phase.shape, *([1] * (basis.dim() - 2)))
    return basis[:, :1] * phase.cos().view(shape) + basis[:, 1:] * phase.sin().view(shape)


@functools.lru_cache(maxsize=64)
def cubic_matrix(size: int, grid: int, device: str) -> torch.Tensor:
    """(size, grid) bfloat16 Catmull-Rom interpolation weights from ``grid`` to ``size`` pixels, borders replicated."""
    position = (torch.arange(size, device=device) + 0.5) / size * grid - 0.5
    first = position.floor()
    t = (position - first)[:, None]
    weights = torch.cat([(-t + 2 * t**2 - t**3) / 2, 1 - 2.5 * t**2 + 1.5 * t**3,
                         (t + 4 * t**2 - 3 * t**3) / 2, (t**3 - t**2) / 2], dim=1)  # fmt: skip
    index = (first[:, None].long() + torch.arange(-1, 3, device=device)).clamp(0, grid - 1)
    return _finished(torch.zeros(size, grid, device=device).scatter_add_(1, index, weights).bfloat16())


def enlarge(images: torch.Tensor, size: int) -> torch.Tensor:
    """(..., grid, grid) -> (..., size, size) bfloat16, cubic; a pair of matrix products, fast on matrix units."""
    weights = cubic_matrix(size, images.shape[-1], str(images.device))
    return weights @ images.bfloat16() @ weights.T


def gaussian_blur(images: torch.Tensor, sigma: float | tuple[float, float]) -> torch.Tensor:
    """Blur (..., rows, columns) by ``sigma`` pixels (rows, columns), borders replicated."""
    pair = (sigma, sigma) if isinstance(sigma, (int, float)) else sigma
    for axis, width in zip((-2, -1), pair):
        if width < 0.15:
            continue
        length = images.shape[axis]
        radius = min(max(1, math.ceil(2.2 * width)), length - 1)
        weights = [math.exp(-0.5 * (offset / width) ** 2) for offset in range(-radius, radius + 1)]
        first, last = images.narrow(axis, 0, 1), images.narrow(axis, length - 1, 1)
        padded = torch.cat([*[first] * radius, images, *[last] * radius], dim=axis)
        images = padded.narrow(axis, 0, length) * (weights[0] / sum(weights))
        for offset, weight in enumerate(weights[1:], 1):
            images.add_(padded.narrow(axis, offset, length), alpha=weight / sum(weights))
    return images


def resize(images: torch.Tensor, size: int) -> torch.Tensor:
    """(..., rows, columns) -> (..., size, size), bilinear."""
    if images.shape[-1] == size:
        return images
    flat = images.flatten(0, -3)[None]
    return F.interpolate(flat, (size, size), mode="bilinear", align_corners=False).view(*images.shape[:-2], size, size)
