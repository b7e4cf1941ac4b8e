"""Moving average of weights, mixtures of two, and float16 safetensors files."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file


class Average:
    """Exponential moving average of a module's state; integer buffers are copied."""

    def __init__(self, module: torch.nn.Module, decay: float) -> None:
        self.decay = decay
        self.count = 0
        self.state = {key: value.detach().clone() for key, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: torch.nn.Module) -> None:
        """Take in the module's present state; the first steps count more, so that the start is forgotten."""
        self.count += 1
        decay = min(self.decay, self.count / (self.count + 10))
        present = module.state_dict()
        moving = [key for key, value in present.items() if value.dtype.is_floating_point]
        # All tensors in a few kernels: one after the other they would take longer than a training step on a GPU.
        torch._foreach_lerp_([self.state[key] for key in moving], [present[key] for key in moving], 1 - decay)
        for key in present.keys() - set(moving):
            self.state[key].copy_(present[key])

    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Continue from a stored state."""
        self.count = 10_000
        for key, value in state.items():
            self.state[key].copy_(value)


def between(
    first: dict[str, torch.Tensor], second: dict[str, torch.Tensor], share: float
) -> dict[str, torch.Tensor]:
    """Float16 weights so much of the way from the first to the second ones; beyond the second for a share above 1."""
    state = {key: value.float() for key, value in first.items()}
    return {key: (value + share * (second[key].float() - value)).half().contiguous() for key, value in state.items()}


def save_half(state: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Write a state as float16 safetensors."""
    save_file({key: value.half().cpu().contiguous() for key, value in state.items()}, str(path), metadata=metadata)
