"""Appearance that does not drift: what the annotated structure looks like against everything else (METHOD.md section 1 [V]).

A small classifier on local intensity features, trained on the annotated slices only, tells every pixel of every slice how
much it looks like the structure. Unlike a chain of warps it knows nothing of the slices in between, so it cannot drift.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from MedPerSAMLib.core.features import Window, context_features, level_features, local_features, window_around
from MedPerSAMLib.core.one_thread import one_thread


@dataclass(frozen=True)
class AppearanceSettings:
    """How the classifier is trained [I].

    Attributes:
        hidden: width of its two hidden layers.
        steps: of Adam.
        batch: pixels of each class per step.
        learning_rate: at the start; falls to zero as a cosine.
        noise: deviation of the noise added to each standardised feature, against learning one slice by heart.
        ring: width of the surroundings, in radii of the structure.
        far: part of the negatives taken from the rest of the annotated slice.
        unlabelled: part of the negatives taken at random from other slices near the structure's place; few of them belong
            to it, and without them whatever the annotated slice does not show would be judged by extrapolation.
        strange_context: part of the training pixels whose coarse features are those of another pixel: the same structure
            has other neighbours on other slices (an aorta leaves the lungs for the abdomen).
        brightness: deviation of a change of brightness between images, intensities in 0..1; slices of one volume have none.
        limit: largest log-odds that one pixel may claim.
    """

    hidden: int = 64
    steps: int = 300
    batch: int = 256
    learning_rate: float = 5e-3
    noise: float = 0.25
    ring: float = 1.0
    far: float = 0.2
    unlabelled: float = 0.3
    strange_context: float = 0.5
    brightness: float = 0.0
    limit: float = 3.0


class Appearance:
    """The trained classifier of one structure.

    Args:
        planes: working slices or images, each (rows, columns) float32 in 0..1 or (rows, columns, 3) colour.
        references: index -> (rows, columns) bool on the working grid, none empty.
        settings: how to train.
        seed: of initial weights and samples.
    """

    def __init__(
        self,
        planes: Sequence[np.ndarray],
        references: Mapping[int, np.ndarray],
        settings: AppearanceSettings,
        seed: int,
    ) -> None:
        self._planes, self.settings = planes, settings
        rng = np.random.default_rng(seed)
        inside, around = [], []
        for index, mask in references.items():
            features = local_features(planes[index])
            inside.append(features[mask])
            around.append(features[tuple(_negatives(mask, settings, rng).T)])
        inside, around = np.concatenate(inside), np.concatenate(around)
        around = np.concatenate([around, *self._unlabelled(references, len(around), rng)])
        both = np.concatenate([inside, around])
        self._mean, self._deviation = both.mean(axis=0), both.std(axis=0) + 1e-4
        self._layers = _train(
            self._standardise(inside), self._standardise(around), settings, self._brightness_step(), rng, seed
        )

    def log_odds(self, index: int, window: Window) -> np.ndarray:
        """(window rows, window columns) float32 in -limit..limit, positive where slice ``index`` looks like the structure."""
        values = self._standardise(local_features(self._planes[index], window))
        for number, (weight, bias) in enumerate(self._layers):
            values = values @ weight + bias
            if number + 1 < len(self._layers):
                np.maximum(values, 0, out=values)
        return np.clip(values[..., 0], -self.settings.limit, self.settings.limit)

    def contrast(self, index: int, mask: np.ndarray) -> float:
        """Mean probability inside a mask on slice ``index`` less that in the ring around it, -1..1."""
        ring = ring_around(mask, 0.5)
        window = window_around(mask | ring, 1)
        probability = 1 / (1 + np.exp(-self.log_odds(index, window)))
        outside = ring[window]
        return float(probability[mask[window]].mean() - (probability[outside].mean() if outside.any() else 0.0))

    def _unlabelled(
        self, references: Mapping[int, np.ndarray], count: int, rng: np.random.Generator
    ) -> list[np.ndarray]:
        wanted = round(count * self.settings.unlabelled / (1 - self.settings.unlabelled))
        others = np.setdiff1d(np.arange(len(self._planes)), list(references))
        if not len(others) or not wanted:
            return []
        mask = np.any(list(references.values()), axis=0)
        near = window_around(mask, int(2 * radius(mask)))
        chosen = rng.choice(others, min(len(others), 8), replace=False)
        samples = []
        for index in chosen:
            features = local_features(self._planes[index], near)
            features = features.reshape(-1, features.shape[-1])
            samples.append(features[rng.integers(len(features), size=wanted // len(chosen) + 1)])
        return samples

    def _brightness_step(self) -> np.ndarray:
        """(F,) what a change of brightness by one deviation adds to standardised features."""
        return (self.settings.brightness * level_features(len(self._mean)) / self._deviation).astype(np.float32)

    def _standardise(self, features: np.ndarray) -> np.ndarray:
        return (features - self._mean) / self._deviation


def radius(mask: np.ndarray) -> float:
    """Radius in pixels of the disc with the mask's area."""
    return float(np.sqrt(np.count_nonzero(mask) / np.pi))


def ring_around(mask: np.ndarray, width: float, least: float = 6.0) -> np.ndarray:
    """(rows, columns) bool, pixels outside a mask within ``width`` radii of it, and at least ``least`` pixels."""
    distance = ndimage.distance_transform_edt(~mask)
    return (distance > 0) & (distance <= max(least, width * radius(mask)))


def _negatives(mask: np.ndarray, settings: AppearanceSettings, rng: np.random.Generator) -> np.ndarray:
    ring = ring_around(mask, settings.ring)
    near, far = np.argwhere(ring), np.argwhere(~ring & ~mask)
    if not len(near):
        return far
    wanted = round(len(near) * settings.far / (1 - settings.far))
    return np.concatenate([near, far[rng.integers(len(far), size=wanted)]]) if len(far) else near


def _train(
    inside: np.ndarray,
    around: np.ndarray,
    settings: AppearanceSettings,
    brightness_step: np.ndarray,
    rng: np.random.Generator,
    seed: int,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights and biases of the classifier, trained to tell standardised (n, F) features of both classes apart."""
    generator = torch.Generator().manual_seed(seed)
    widths = (inside.shape[1], settings.hidden, settings.hidden, 1)
    parameters = []
    for fan_in, fan_out in itertools.pairwise(widths):
        bound = fan_in**-0.5
        parameters.append((torch.rand(fan_in, fan_out, generator=generator) * 2 - 1) * bound)
        parameters.append((torch.rand(fan_out, generator=generator) * 2 - 1) * bound)
    parameters = [p.requires_grad_() for p in parameters]
    optimiser = torch.optim.AdamW(parameters, settings.learning_rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.steps)
    classes = [torch.from_numpy(inside), torch.from_numpy(around)]
    context = torch.from_numpy(context_features(inside.shape[1]))
    brightness = torch.from_numpy(brightness_step)
    truth = torch.cat([torch.ones(settings.batch), torch.zeros(settings.batch)])
    with torch.enable_grad(), one_thread():
        for _ in range(settings.steps):
            x = torch.cat([c[rng.integers(len(c), size=settings.batch)] for c in classes])
            strange = torch.from_numpy(rng.random(len(x)) < settings.strange_context)
            x = torch.where(strange[:, None] & context, x[torch.from_numpy(rng.permutation(len(x)))], x)
            if settings.brightness:
                x = x + brightness * torch.randn(len(x), 1, generator=generator)
            x = x + settings.noise * torch.randn(x.shape, generator=generator)
            for number in range(0, len(parameters), 2):
                x = x @ parameters[number] + parameters[number + 1]
                x = x.relu() if number + 2 < len(parameters) else x
            loss = torch.nn.functional.binary_cross_entropy_with_logits(x[:, 0], truth)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    arrays = [p.detach().numpy() for p in parameters]
    return list(zip(arrays[::2], arrays[1::2]))
