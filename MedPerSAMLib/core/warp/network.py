"""The warping network: from a pair of frames to a smooth, invertible displacement field in one forward pass.

A VoxelMorph-style 2D U-Net predicts a stationary velocity at half resolution, which is integrated by scaling and
squaring. Further passes of the same network look at the already warped frame and correct what is left. Besides the two
frames the network sees the demons force between them (Thirion 1998) at two scales, so that it need not first learn what
every registration knows: its output is a correction of the smoothed force.

Fields are in frame half-widths, so that they hold at any resolution: a field of value 1 moves by half a frame.
``warp(images, field)(p) = images(p + field(p))``, channels (x, y).
"""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from MedPerSAMLib.core.enlarged import convolve_enlarged

_FORCE_BLURS = (3, 7)  # box widths in frame pixels of the frames that the demons forces are taken from


@dataclass(frozen=True)
class WarpConfig:
    """Shape of the warping network.

    Attributes:
        widths: channels at full, 1/2, 1/4, 1/8 and 1/16 resolution.
        steps: squarings of the integration.
        passes: how often the network corrects its own result at most; all passes share their weights.
        settled: a pass that moves no pixel farther than this, in frame pixels, is a pair's last. Slices that hardly differ
            are carried worse by each further pass, which chases their noise; large displacements gain by all of them.
        reach: largest velocity a pass can predict, in frame half-widths.
    """

    widths: tuple[int, ...] = (16, 32, 48, 64, 64)
    steps: int = 7
    passes: int = 10
    settled: float = 5.0
    reach: float = 0.25


class WarpNetwork(nn.Module):
    """Displacement field that carries a moving frame onto a fixed one."""

    def __init__(self, config: WarpConfig = WarpConfig()) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.stem = _block(2 + 2 * len(_FORCE_BLURS), widths[0], 1)
        self.down = nn.ModuleList(_block(a, b, 2) for a, b in itertools.pairwise(widths))
        self.deep = _block(widths[-1], widths[-1], 1)
        self.up = nn.ModuleList(_block(a + b, b, 1) for a, b in zip(widths[:1:-1], widths[-2:0:-1]))
        self.flow = nn.Conv2d(widths[1], 2, 3, padding=1)
        nn.init.normal_(self.flow.weight, std=1e-5)
        nn.init.zeros_(self.flow.bias)
        self.gain = nn.Parameter(torch.full((len(_FORCE_BLURS), 1, 1, 1), 0.5))

    def forward(self, moving: torch.Tensor, fixed: torch.Tensor) -> torch.Tensor:
        """Field (B, 2, s, s) that carries moving (B, 1, s, s) onto fixed (B, 1, s, s); s a multiple of 16.

        Each pair gets the passes it needs (``WarpConfig.settled``).
        """
        moving, fixed = _standardise(moving, fixed)
        field = moving.new_zeros(len(moving), 2, *moving.shape[-2:], dtype=torch.float32)
        going = torch.arange(len(moving), device=moving.device)
        for _ in range(self.config.passes):
            seen = warp(moving[going], field[going])
            step = self._displacement(self.velocity(seen, fixed[going]))
            field[going] = compose(field[going], step)
            farthest = step.square().sum(1).flatten(1).amax(1).sqrt() * fixed.shape[-1] / 2
            going = going[farthest > self.config.settled]
            if not len(going):
                break
        return field

    def fields(
        self, moving: torch.Tensor, fixed: torch.Tensor, passes: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The field after a fixed number of passes, and the velocities (B, 2 * passes, s/2, s/2), for a loss to smooth."""
        moving, fixed = _standardise(moving, fixed)
        field, velocities = None, []
        for _ in range(passes or self.config.passes):
            seen = moving if field is None else warp(moving, field)
            velocities.append(self.velocity(seen, fixed))
            step = self._displacement(velocities[-1])
            field = step if field is None else compose(field, step)
        return field, torch.cat(velocities, dim=1)

    def _displacement(self, velocity: torch.Tensor) -> torch.Tensor:
        """Displacement (B, 2, s, s) of a velocity (B, 2, s/2, s/2)."""
        return _enlarge(integrate(velocity, self.config.steps), 2 * velocity.shape[-1])

    def velocity(self, moving: torch.Tensor, fixed: torch.Tensor) -> torch.Tensor:
        """Stationary velocity (B, 2, s/2, s/2) of one pass for standardised frames."""
        forces = [demons_force(moving, fixed, width) for width in _FORCE_BLURS]
        scaled = [force * fixed.shape[-1] / 8 for force in forces]
        levels = [self.stem(torch.cat([moving, fixed, *scaled], dim=1))]
        for block in self.down:
            levels.append(block(levels[-1]))
        x = self.deep(levels[-1])
        for (convolution, activation), skip in zip(self.up, levels[-2:0:-1]):
            x = activation(convolve_enlarged(x, skip, convolution.weight, convolution.bias))
        pushed = sum(gain * _blur(F.avg_pool2d(force, 2), 5) for gain, force in zip(self.gain, forces))
        return self.config.reach * torch.tanh(self.flow(x).float() + pushed / self.config.reach)


def demons_force(moving: torch.Tensor, fixed: torch.Tensor, blur: int) -> torch.Tensor:
    """Symmetric demons force (B, 2, s, s) in frame half-widths for standardised frames blurred over ``blur`` pixels."""
    moving, fixed = _blur(moving.float(), blur), _blur(fixed.float(), blur)
    padded = F.pad((moving + fixed) / 2, (1, 1, 1, 1), mode="replicate")
    slope = torch.cat(
        [padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2], padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]], 1
    )
    slope, error = slope / 2, fixed - moving
    pixels = error * slope / (slope.pow(2).sum(1, keepdim=True) + error**2 + 1e-3)
    return pixels * (2 / fixed.shape[-1])


def warp(images: torch.Tensor, field: torch.Tensor, padding: str = "border") -> torch.Tensor:
    """Images (B, C, h, w) pulled back by a field (B, 2, h, w): the result at p is the image at p + field(p)."""
    grid = _identity(field) + field
    return F.grid_sample(
        images.float(), grid.movedim(1, -1), mode="bilinear", padding_mode=padding, align_corners=False
    )


def integrate(velocity: torch.Tensor, steps: int = 7) -> torch.Tensor:
    """Displacement (B, 2, h, w) after unit time of a stationary velocity (B, 2, h, w), by scaling and squaring."""
    field = velocity / 2**steps
    for _ in range(steps):
        field = compose(field, field)
    return field


def compose(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """The one field that equals warping by ``first`` and then by ``second``; all (B, 2, h, w)."""
    return second + warp(first, second)


def load_warp(path: str | Path) -> WarpNetwork:
    """The network of a safetensors file with its configuration in the metadata, in eval mode."""
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as file:
        config = json.loads(file.metadata()["config"])
        state = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118 - a safetensors file is no dict
    network = WarpNetwork(WarpConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in config.items()}))
    network.load_state_dict(state, strict=True)
    # The layout that convolutions work in: without it each call reorders the weights.
    return network.to(memory_format=torch.channels_last).eval()


def warp_metadata(network: WarpNetwork) -> dict[str, str]:
    """Metadata from which :func:`load_warp` rebuilds the network."""
    return {"config": json.dumps(asdict(network.config))}


def _block(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, 3, stride, 1), nn.LeakyReLU(0.1, inplace=True))


def _blur(images: torch.Tensor, width: int) -> torch.Tensor:
    """Two box filters of an odd width at once, borders replicated."""
    reach = width - 1
    taps = [(width - abs(offset)) / width**2 for offset in range(-reach, reach + 1)]
    for axis in (-2, -1):
        length = images.shape[axis]
        padding = (0, 0, reach, reach) if axis == -2 else (reach, reach, 0, 0)
        padded = F.pad(images, padding, mode="replicate")
        images = sum(tap * padded.narrow(axis, start, length) for start, tap in enumerate(taps))
    return images


def _standardise(moving: torch.Tensor, fixed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both frames with the mean and deviation of the pair removed."""
    both = torch.cat([moving, fixed], dim=-1)
    mean = both.mean((-2, -1), keepdim=True)
    deviation = both.std((-2, -1), keepdim=True).clamp(min=1e-3)
    return (moving - mean) / deviation, (fixed - mean) / deviation


def _enlarge(field: torch.Tensor, size: int) -> torch.Tensor:
    return F.interpolate(field, (size, size), mode="bilinear", align_corners=False)


def _identity(field: torch.Tensor) -> torch.Tensor:
    """(1, 2, h, w) pixel centres, (x, y) in -1..1."""
    axes = [(torch.arange(n, device=field.device, dtype=field.dtype) + 0.5) / n * 2 - 1 for n in field.shape[-2:]]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1])[None]
