"""The training loop of a learned part: encoded frames in, the best weights out."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from MedPerSAMLib.core.learn.average import AverageWeights
from MedPerSAMLib.core.learn.fitted import CurvePoint
from MedPerSAMLib.core.learn.inputs import Inputs
from MedPerSAMLib.core.learn.losses import class_weights
from MedPerSAMLib.core.learn.parts import load_weights, loss_of
from MedPerSAMLib.core.learn.settings import FitSettings
from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.core.repeatable import repeatable

_WARM_UP = 20
"""Steps over which the learning rate rises."""

_GAIN = 1e-3
"""Dice by which a check must be better than the best one to count."""


@dataclass(frozen=True)
class Examples:
    """Encoded frames.

    Attributes:
        inputs: of N frames, in half precision.
        labels: (N, m, m) uint8.
    """

    inputs: Inputs
    labels: torch.Tensor


@dataclass
class State:
    """Where a training stands.

    Attributes:
        steps: done.
        curve: the checks.
        best: weights of the best check.
        finished: whether it came to its end.
    """

    steps: int = 0
    curve: tuple[CurvePoint, ...] = ()
    best: Mapping[str, torch.Tensor] | None = None
    finished: bool = False


class Training:
    """Trains a part.

    Args:
        part: the part.
        learn: frames to learn from.
        check: frames by which the best weights are chosen.
        classes: structures.
        settings: how.
        seed: of the order of frames.
        device: where it runs.
    """

    def __init__(
        self,
        part: nn.Module,
        learn: Examples,
        check: Examples,
        classes: int,
        settings: FitSettings,
        seed: int,
        device: torch.device,
    ) -> None:
        self.part, self.state = part, State()
        self._learn, self._check, self._settings, self._seed, self._device = learn, check, settings, seed, device
        self._weights = class_weights(learn.labels, classes, settings.balance).to(device)
        self._average = AverageWeights(part, settings.averaging)
        self._optimiser = torch.optim.AdamW(
            part.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
        )

    def run(
        self, progress: Progress, keep: Callable[[Training], None] = lambda training: None, phase: str = "training"
    ) -> State:
        """Train to the end; ``keep(self)`` is called after each check.

        Raises:
            Cancelled: the user asked for it.
        """
        s, state = self._settings, self.state
        every, losses = max(1, s.steps // s.checks), []
        # Denormal numbers make a CPU's convolutions many times slower.
        with _flushed_denormals(), repeatable(self._device), torch.enable_grad():
            while not state.finished:
                progress.step(phase, state.steps, s.steps)
                losses.append(self._step(state.steps))
                state.steps += 1
                if state.steps % every and state.steps < s.steps:
                    continue
                point = CurvePoint(state.steps, sum(losses) / len(losses), self.validate(progress))
                losses = []
                earlier = [p.dice for p in state.curve]
                if not earlier or point.dice > max(earlier):
                    state.best = _copied(self._average.values)
                state.curve = (*state.curve, point)
                state.finished = state.steps >= s.steps or _stalls(state.curve, s.patience)
                keep(self)
        return state

    def validate(self, progress: Progress) -> float:
        """Mean Dice of the averaged weights over the structures that the checked frames hold, all their pixels at once."""
        labels, found = self._check.labels.long(), []
        self.part.eval()
        with torch.no_grad(), self._average.instead_of(self.part):
            for start in range(0, len(labels), self._settings.batch):
                progress.step("checking", start, len(labels))
                inputs = self._check.inputs[start : start + self._settings.batch].on(self._device)
                found.append(self.part(inputs).argmax(dim=1).cpu())
        self.part.train()
        found = torch.cat(found)
        labels = _at_resolution(labels, found.shape[-1])
        scores = []
        for number in range(1, int(labels.max()) + 1):
            a, b = found == number, labels == number
            if b.any():
                scores.append(2 * float((a & b).sum()) / float(a.sum() + b.sum()))
        return sum(scores) / len(scores) if scores else 0.0

    def snapshot(self) -> dict[str, torch.Tensor]:
        """From which :meth:`restore` goes on: weights, their average, and the optimiser's moments."""
        kept = {f"part.{key}": value for key, value in self.part.state_dict().items()}
        kept |= {f"average.{key}": value for key, value in self._average.values.items()}
        for number, values in self._optimiser.state_dict()["state"].items():
            kept |= {f"optimiser.{number}.{key}": torch.as_tensor(value) for key, value in values.items()}
        return _copied(kept)

    def restore(self, snapshot: Mapping[str, torch.Tensor], state: State) -> None:
        """Go on from what :meth:`snapshot` gave.

        Raises:
            InputError: it is that of a part of another shape.
        """
        load_weights(self.part, _beginning("part.", snapshot))
        self.state = state
        self._average.restore(_beginning("average.", snapshot))
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in snapshot.items():
            if key.startswith("optimiser."):
                _, number, name = key.split(".", 2)
                moments.setdefault(int(number), {})[name] = value.clone()
        groups = self._optimiser.state_dict()["param_groups"]
        self._optimiser.load_state_dict({"state": moments, "param_groups": groups})

    def _step(self, step: int) -> float:
        s = self._settings
        # Of the step alone, so that a resumed training sees what an uninterrupted one would.
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + step)
        rows = torch.randint(len(self._learn.labels), (s.batch,), generator=generator)
        inputs = self._learn.inputs[rows].on(self._device)
        labels = self._learn.labels[rows].long().to(self._device)
        rise = min(1.0, (step + 1) / _WARM_UP)
        rate = s.learning_rate * rise * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / s.steps)))
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        # What the part itself draws (channels left out) follows the step, too.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed * 1_000_003 + step)
            loss = loss_of(self.part, inputs, labels, self._weights, generator)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.part.parameters(), 1.0)
        self._optimiser.step()
        self._average.update(self.part, step)
        return float(loss.detach())


def _beginning(prefix: str, values: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The values whose names begin with ``prefix``, under the rest of their names."""
    return {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}


def _stalls(curve: tuple[CurvePoint, ...], patience: int) -> bool:
    if len(curve) <= patience:
        return False
    return max(p.dice for p in curve[-patience:]) < max(p.dice for p in curve[:-patience]) + _GAIN


def _at_resolution(labels: torch.Tensor, size: int) -> torch.Tensor:
    """(N, m, m) labels for (N, size, size) results; a coarser result only tells some structure from none."""
    if labels.shape[-1] == size:
        return labels
    return (F.adaptive_avg_pool2d((labels > 0).float(), size) >= 0.5).long()


def _copied(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: copy.deepcopy(value.detach().cpu()) for key, value in state.items()}


class _flushed_denormals:
    """Denormal numbers count as zero inside; afterwards they do not, which is torch's own setting."""

    def __enter__(self) -> None:
        torch.set_flush_denormal(True)

    def __exit__(self, *_error: object) -> None:
        torch.set_flush_denormal(False)
