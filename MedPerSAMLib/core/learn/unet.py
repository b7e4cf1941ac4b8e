"""A U-Net trained from scratch (what the papers of AutoSAM and ProMISe compare with), and AutoSAM's head of the same shape."""

from __future__ import annotations

import itertools

import torch
from torch import nn
from torch.nn import functional as F

from MedPerSAMLib.core.enlarged import convolve_enlarged
from MedPerSAMLib.core.learn.inputs import MASK_SIZE, Inputs
from MedPerSAMLib.core.learn.layers import convolve, pooled

WIDTHS = (16, 32, 64, 128)
_LEVEL = 2
"""Whose grid the encoder's features have: a quarter of the masks'."""
_LEFT_OUT = 0.1
"""Part of the features' channels that training leaves out."""
_HIDDEN = 0.3
"""Part of the frames of which training hides the features."""


class UNet(nn.Module):
    """Ronneberger's U-Net with batch normalisation, at the resolution of the masks.

    [I] With features it is our convolutional head (``autosam-cnn``). The paper's own (``plain_head``) sees the embedding alone,
    whose grid is a quarter as fine as the masks.

    Args:
        classes: structures.
        features: channels of the frozen encoder's features, which join the level that has their grid; 0 for none.
        widths: channels of its levels, each at half the resolution of the one before.
    """

    def __init__(self, classes: int, features: int = 0, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.down = nn.ModuleList(_block(a, b) for a, b in itertools.pairwise((1, *widths)))
        self.up = nn.ModuleList(_block(b + a, a) for a, b in itertools.pairwise(widths))
        self.out = nn.Conv2d(widths[0], classes + 1, 1)
        self.reduce = self.join = None
        if features:
            width = widths[_LEVEL]
            # Standardised by the training frames, or the first hundreds of steps go into the scale; whole channels are left out at
            # times, so that the head does not lean on what only these patients show.
            self.reduce = nn.Sequential(
                nn.BatchNorm2d(features, affine=False), nn.Dropout2d(_LEFT_OUT), convolve(features, width, 1)
            )
            self.join = convolve(2 * width, width, 1)

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """(B, 1 + classes, m, m) logits, background first.

        [I] With features, training hides them from some frames, and afterwards the mean of the probabilities with and without
        them counts: what frozen features tell of one patient does not always hold for the next.
        """
        if self.reduce is None:
            return self._run(self._seen(inputs.frames, MASK_SIZE), None)
        told = self.reduce(inputs.features).contiguous(memory_format=torch.channels_last)
        seen = self._seen(inputs.frames, told.shape[-1] * 2**_LEVEL)
        if self.training:
            shown = torch.rand(len(told), 1, 1, 1, device=told.device) >= _HIDDEN
            return self._run(seen, told * shown)
        both = [self._run(seen, part).softmax(dim=1) for part in (told, torch.zeros_like(told))]
        return ((both[0] + both[1]) / 2).clamp(min=1e-7).log()

    def _seen(self, frames: torch.Tensor, side: int) -> list[torch.Tensor]:
        """What the levels see of the frames, at ``side`` and below, down to the one that the features join."""
        x, seen = pooled(frames, side), []
        for number, block in enumerate(self.down[: _LEVEL + 1]):
            x = block(x if number == 0 else F.max_pool2d(x, 2))
            seen.append(x)
        return seen

    def _run(self, seen: list[torch.Tensor], told: torch.Tensor | None) -> torch.Tensor:
        x, skips = seen[-1], seen[:-1]
        if told is not None:
            x = self.join(torch.cat([x, told], dim=1))
        for block in self.down[_LEVEL + 1 :]:
            skips = [*skips, x]
            x = block(F.max_pool2d(x, 2))
        for block, skip in zip(self.up[::-1], skips[::-1]):
            (convolution, norm, rectify), second = block
            x = second(rectify(norm(convolve_enlarged(x, skip, convolution.weight))))
        return self.out(x)


def _block(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(convolve(channels_in, channels_out), convolve(channels_out, channels_out))
