"""Training of the warping network on one case: L = L_warp + w_aug L_aug, and on refined masks as pseudo-labels.

METHOD.md section 1. The shipped weights are the start, so tens of steps are enough; the caller keeps the result only where a
label-free score does not fall.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.core.warp.augment import augmented_pair
from MedPerSAMLib.core.warp.losses import dice_loss, local_ncc_loss, smoothness
from MedPerSAMLib.core.warp.network import WarpNetwork, warp


@dataclass(frozen=True)
class TuneSettings:
    """How the warp is trained on a case.

    Attributes:
        steps: of Adam.
        learning_rate: of Adam.
        batch: neighbouring pairs per step.
        smooth: lambda of the smoothness term.
        augmentation: w_aug of L_aug; 0 leaves the annotated slice out.
        pseudo: weight of the Dice loss on refined masks.
    """

    steps: int = 30
    learning_rate: float = 1e-4
    batch: int = 4
    smooth: float = 1.0
    augmentation: float = 1.0
    pseudo: float = 1.0


@dataclass(frozen=True)
class Pair:
    """Two neighbouring frames, (1, 1, s, s) in 0..1, and where refined masks exist their (1, 1, s, s) masks and trust."""

    moving: torch.Tensor
    fixed: torch.Tensor
    moving_mask: torch.Tensor | None = None
    fixed_mask: torch.Tensor | None = None
    trust: float = 0.0


def tune(
    network: WarpNetwork,
    pairs: Sequence[Pair],
    annotated: Sequence[tuple[torch.Tensor, torch.Tensor]],
    settings: TuneSettings,
    seed: int,
    progress: Progress,
) -> WarpNetwork:
    """A copy of the network, trained on one case.

    Args:
        network: the start; left as it is.
        pairs: neighbouring frames of the volume; those with masks and trust also teach by their masks.
        annotated: (frame, mask) of annotated slices, each (1, 1, s, s).
        settings: how long and with which weights.
        seed: of the draws.
        progress: told of each step.

    Raises:
        Cancelled: the user asked for it.
    """
    tuned = copy.deepcopy(network).train().requires_grad_(True)
    optimiser = torch.optim.Adam(tuned.parameters(), settings.learning_rate)
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    for step in range(settings.steps):
        progress.step("tuning the warp", step, settings.steps)
        chosen = [pairs[i] for i in rng.choice(len(pairs), min(settings.batch, len(pairs)), replace=False)]
        loss = _pair_loss(tuned, chosen, settings)
        if settings.augmentation and annotated:
            loss = loss + settings.augmentation * _augmentation_loss(
                tuned, *annotated[rng.integers(len(annotated))], settings, generator
            )
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tuned.parameters(), 1.0)
        optimiser.step()
    return tuned.eval().requires_grad_(False)


def _pair_loss(network: WarpNetwork, pairs: Sequence[Pair], settings: TuneSettings) -> torch.Tensor:
    """L_warp of a batch of pairs, and the Dice loss of those that have masks."""
    moving, fixed = torch.cat([p.moving for p in pairs]), torch.cat([p.fixed for p in pairs])
    field, velocity = network.fields(moving, fixed)
    loss = local_ncc_loss(warp(moving, field), fixed) + settings.smooth * smoothness(velocity)
    taught = [number for number, pair in enumerate(pairs) if pair.trust > 0]
    if settings.pseudo and taught:
        carried = warp(torch.cat([pairs[n].moving_mask for n in taught]), field[taught])
        trust = torch.tensor([pairs[n].trust for n in taught], device=field.device)
        loss = loss + settings.pseudo * dice_loss(carried, torch.cat([pairs[n].fixed_mask for n in taught]), trust)
    return loss


def _augmentation_loss(
    network: WarpNetwork, frame: torch.Tensor, mask: torch.Tensor, settings: TuneSettings, generator: torch.Generator
) -> torch.Tensor:
    """L_aug: the annotated mask must be carried onto its own changed copy."""
    changed, truth = augmented_pair(frame, mask, generator)
    field, velocity = network.fields(frame, changed)
    similarity = local_ncc_loss(warp(frame, field), changed)
    return dice_loss(warp(mask, field), truth) + similarity + settings.smooth * smoothness(velocity)
