"""Whether what a mask shows would find the annotated structure again: matching the other way round.

A proposal on another image may look like the structure and yet be another one. So it is taken as if it were the annotation: where its
inside and its surroundings tell the annotated structure from the rest of the annotated image, both show the same thing. The idea is
CycleSAM's (METHOD.md section 5), for masks instead of points. [I]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import mannwhitneyu


@dataclass(frozen=True)
class Shown:
    """A mask in the frame in which SAM sees it.

    Attributes:
        directions: (C, e, e) embedding, each place of length 1.
        inside: (e, e) share of each place that the mask covers, 0..1.
        on_image: (e, e) bool, places that show the image and not padding.
    """

    directions: torch.Tensor
    inside: torch.Tensor
    on_image: torch.Tensor

    @property
    def structure(self) -> torch.Tensor:
        """(e, e) bool, places of the structure; of one thinner than a place, those that it covers most."""
        covered = self.inside * self.on_image
        return (covered > 0) & (covered >= min(0.5, float(covered.max())))

    @property
    def rest(self) -> torch.Tensor:
        """(e, e) bool, places of the image that the mask does not touch."""
        return (self.inside <= 0.01) & self.on_image


def recognised(annotated: Shown, proposed: Shown) -> float:
    """How well a proposed mask's looks tell the annotated structure from the rest of its frame, 0..1.

    Returns:
        Twice the chance, less 1, that a place of the annotated structure looks more like the proposal than a place beside it: 1 where
        they are told apart, 0 where it is chance or worse; 0 too where a frame shows nothing but structure.
    """
    if not (proposed.structure.any() and proposed.rest.any() and annotated.structure.any() and annotated.rest.any()):
        return 0.0
    inside, around = (_mean(proposed.directions, part) for part in (proposed.inside * proposed.on_image, proposed.rest))
    likeness = torch.einsum("chw,c->hw", annotated.directions, inside - around)
    within, beside = (likeness[part].cpu().numpy() for part in (annotated.structure, annotated.rest))
    chance = float(mannwhitneyu(within, beside, method="asymptotic").statistic) / (len(within) * len(beside))
    return float(np.clip(2 * chance - 1, 0, 1))


def _mean(directions: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    weight = weight.to(directions)
    return (directions * weight).sum(dim=(1, 2)) / weight.sum()
