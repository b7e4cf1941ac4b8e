"""The running mean of a training's weights (Polyak and Juditsky 1992), which is checked and kept instead of the last ones.

The last weights jump about: on la_mri, one step's gave 0.63 on other patients between two that gave 0.77, while the held-out slices
of the training's own patient called just these the best.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import nn


class AverageWeights:
    """Mean of a part's weights and statistics over its last steps, older ones counting less and less.

    Args:
        part: whose first weights it starts with.
        keep: share of the mean that a step leaves as it is: the mean reaches over about ``1 / (1 - keep)`` steps, and over fewer
            at first. 0 follows the last weights.
    """

    def __init__(self, part: nn.Module, keep: float) -> None:
        self._keep = keep
        self.values: dict[str, torch.Tensor] = _copied(part.state_dict())

    def update(self, part: nn.Module, step: int) -> None:
        """Take in the weights after ``step``, counted from 0."""
        keep = min(self._keep, (step + 1) / (step + 10))
        for key, value in part.state_dict().items():
            if value.is_floating_point():
                self.values[key].lerp_(value.detach(), 1 - keep)
            else:
                self.values[key].copy_(value)

    def restore(self, values: Mapping[str, torch.Tensor]) -> None:
        """Go on from what ``values`` held."""
        for key, value in values.items():
            self.values[key].copy_(value)

    @contextlib.contextmanager
    def instead_of(self, part: nn.Module) -> Iterator[None]:
        """Inside, the part has these weights."""
        own = _copied(part.state_dict())
        part.load_state_dict(self.values)
        try:
            yield
        finally:
            part.load_state_dict(own)


def _copied(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: value.detach().clone() for key, value in state.items()}
