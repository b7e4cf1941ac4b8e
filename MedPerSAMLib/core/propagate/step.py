"""One step of a chain: what the warp brought, corrected by what the slice itself shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from MedPerSAMLib.core.appearance import radius
from MedPerSAMLib.core.features import window_around

FAR = 9.0
"""Pixels from an outline beyond which distances no longer count."""


@dataclass(frozen=True)
class StepSettings:
    """How far a carried mask is believed [V]; lengths in working pixels.

    The border of a carried mask is uncertain by ``border`` * sqrt(step), where step is the distance between slices in
    pixels: thick slices change more. Its inside is believed only up to ``inside``, so that a region that clearly looks
    like something else is given up at once, however large; growth is bounded, because leaks are worse than gaps.

    Attributes:
        border: uncertainty of the carried border, pixels at a step of one pixel.
        border_share: bound of that uncertainty, in radii of the structure.
        inside, outside: largest prior log-odds inside and outside the carried mask.
        growth: most growth per step, in pixels per pixel of slice distance.
        growth_share: bound of that growth, in radii.
        smoothing: Gaussian width on the log-odds, pixels at a step of one pixel.
        most_smoothing: bound of that width.
        smallest_part: parts smaller than this share of the largest are dropped.
        support: contrast of the appearance, in parts of the annotated slice's, from which on a refiner is fully believed; below
            it is believed in proportion, because SAM finds something wherever it is asked, also beyond the structure's
            end. 0 believes it everywhere.
    """

    border: float = 0.3
    border_share: float = 0.25
    inside: float = 0.65
    outside: float = 3.0
    growth: float = 0.5
    growth_share: float = 0.25
    smoothing: float = 0.35
    most_smoothing: float = 0.7
    smallest_part: float = 0.1
    support: float = 0.3


def correct(
    carried: np.ndarray, evidence: Sequence[np.ndarray], step_pixels: float, settings: StepSettings
) -> tuple[np.ndarray, np.ndarray]:
    """The mask that carried mask and evidence agree on.

    Args:
        carried: (h, w) bool, not empty: the neighbour's mask warped onto this slice.
        evidence: (h, w) log-odds that a pixel belongs to the structure, already weighted.
        step_pixels: distance between slices in pixels.
        settings: how far the carried mask is believed.

    Returns:
        the (h, w) bool mask, possibly empty, made of parts that touch the carried one; and the (h, w) log-odds.
    """
    size = radius(carried)
    distance = signed_distance(carried)
    border = min(settings.border_share * size, settings.border * step_pixels**0.5)
    log_odds = np.clip(distance / border, -settings.outside, settings.inside) + sum(evidence, np.float32(0))
    log_odds = ndimage.gaussian_filter(log_odds, min(settings.most_smoothing, settings.smoothing * step_pixels**0.5))
    log_odds = np.where(distance > -min(settings.growth_share * size, settings.growth * step_pixels), log_odds, -9.0)
    mask = _parts_touching(log_odds > 0, carried, settings.smallest_part)
    return mask, np.where(mask, log_odds, np.minimum(log_odds, 0)).astype(np.float32)


def signed_distance(mask: np.ndarray) -> np.ndarray:
    """Pixels to the border of a bool mask, positive inside, 0 on the border between two pixels."""
    inside = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    outside = ndimage.distance_transform_edt(~mask) if mask.any() else np.full(mask.shape, float(sum(mask.shape)))
    return (inside - outside + np.where(mask, -0.5, 0.5)).astype(np.float32)


def outline_distance(mask: np.ndarray) -> np.ndarray:
    """(rows, columns) float32, pixels to the border of a non-empty mask, positive inside, bounded by ``FAR``."""
    distance = np.full(mask.shape, -FAR, np.float32)
    window = window_around(mask, int(FAR) + 1)
    distance[window] = np.clip(signed_distance(mask[window]), -FAR, FAR)
    return distance


def _parts_touching(mask: np.ndarray, carried: np.ndarray, smallest: float) -> np.ndarray:
    labels, count = ndimage.label(mask)
    if count <= 1:
        return mask & bool(count and (mask & carried).any())
    sizes = ndimage.sum_labels(mask, labels, np.arange(count + 1))
    keep = np.zeros(count + 1, bool)
    keep[np.unique(labels[mask & carried])] = True
    keep[0] = False
    return (keep & (sizes >= smallest * sizes.max()))[labels]
