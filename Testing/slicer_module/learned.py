"""Small finished cases, and settings with which a fit takes seconds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scene as build

from MedPerSAMLib.core.learn import settings
from MedPerSAMLib.core.learn.fitted import CurvePoint, Fitted
from MedPerSAMLib.services.learning.profile import Label, Profile

SHAPE = (12, 40, 44)


def boxes(shift: int = 0) -> np.ndarray:
    """(12, 40, 44) uint8: two organs, the second one on other slices than the first."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:10, 6 + shift : 20 + shift, 5:21] = 1
    labels[4:12, 24:34, 22 + shift : 38 + shift] = 2
    return labels


def grey_of(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """int16 voxels that show the organs, with a little noise."""
    noise = np.random.default_rng(seed).normal(0, 8, labels.shape)
    return (np.array([100, 220, 20])[labels] + noise).astype(np.int16)


def case(name: str, shift: int = 0, names=("Liver", "Spleen"), outlined: bool = True, rotation=(0.0, 0.0, 0.0)):
    """Volume and segmentation node of a case, with all structures outlined or with empty segments; and its labels."""
    labels = boxes(shift)
    volume = build.volume_node(grey_of(labels, shift), (1.5, 1.5, 4.0), rotation, name=name)
    segmentation = build.segmentation_node(volume, *names)
    segmentation.SetName(f"{name} organs")
    for number, segment in enumerate(names, start=1):
        if outlined:
            build.paint(segmentation, segment, volume, labels == number)
    return volume, segmentation, labels


def fit_quickly(monkeypatch, **changes) -> None:
    """Let every method learn for a few steps only."""
    few = {"examples": 16, "steps": 12, "batch": 4, "checks": 4, "most_validation": 8, "located": 8, **changes}
    monkeypatch.setattr(settings, "OF_SINGLE", {})
    for method in ("autosam-cnn", "promise-apm"):
        monkeypatch.setitem(settings.OF_METHOD, method, replace(settings.settings_of(method), **few))


def made_up_profile(steps: int = 60, finished: bool = True, method: str = "autosam-cnn") -> Profile:
    """A profile that was never fitted, for tests whose jobs are fakes."""
    curve = tuple(CurvePoint(step, 2.0 - step / 100, step / 100) for step in range(30, steps + 1, 30))
    fitted = Fitted(method, 2, {}, {}, curve, steps, finished)
    labels = (Label("Liver", (0.8, 0.4, 0.3)), Label("Spleen", (0.6, 0.1, 0.4)))
    return Profile(fitted, labels, "tiny", "0" * 64, 0, ("first",), (), 0, "AR")
