"""Matcher's pool of candidate masks of one target: decoded in batches, thinned, scored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch.nn import functional as F

from MedPerSAMLib.core.methods.per_image import any_coverage
from MedPerSAMLib.core.prompts.points import pad_points
from MedPerSAMLib.core.sam.predictor import Predictor, Prompts

_PROMPTS_AT_ONCE = 32
"""Prompt sets of one target decoded as a batch: enough to fill the processor, little memory."""


@dataclass(frozen=True)
class Pool:
    """Candidate masks of one target.

    Attributes:
        logits: (K, m, m).
        predicted_iou: (K,).
    """

    logits: torch.Tensor
    predicted_iou: torch.Tensor


@dataclass(frozen=True)
class PoolScore:
    """Weights of a mask's score alpha (1 - EMD) + beta purity coverage (Matcher, section 3.3); its FSS-1000 values.

    Attributes:
        alpha: of the likeness between the features in the mask and in the annotated structure.
        beta: of how the matched points lie: purity is the part of the mask's places that are matched, coverage the part
            of the matched places in the mask.
        samples: places drawn from each side for the EMD [I: keeps the assignment small].
    """

    alpha: float = 0.8
    beta: float = 0.2
    samples: int = 64


def decode_pool(predictor: Predictor, embedding: torch.Tensor, subsets: list[np.ndarray]) -> Pool:
    """Three masks for each set (n, 2) of positive points (x, y) in frame pixels, on one (C, e, e) embedding."""
    points, labels = pad_points([(subset.astype(np.float32), np.ones(len(subset), np.int64)) for subset in subsets])
    logits, iou = [], []
    for start in range(0, len(subsets), _PROMPTS_AT_ONCE):
        part = slice(start, start + _PROMPTS_AT_ONCE)
        prompts = Prompts(torch.from_numpy(points[part]), torch.from_numpy(labels[part]))
        decoded = predictor.decode(embedding.expand(len(prompts.labels), -1, -1, -1), prompts, multimask=True)
        logits.append(decoded.logits.flatten(0, 1))
        iou.append(decoded.predicted_iou.flatten())
    return Pool(torch.cat(logits), torch.cat(iou))


def distinct_masks(pool: Pool, on_image: torch.Tensor, overlap: float) -> Pool:
    """Non-maximum suppression: of masks that overlap by more than ``overlap`` IoU, that of highest predicted IoU.

    Empty masks are dropped too, unless all are empty: then the one of highest predicted IoU remains.

    Args:
        pool: the candidates.
        on_image: (s, s) bool; only what lies on the image counts.
        overlap: IoU in 0..1.
    """
    order = torch.argsort(pool.predicted_iou, descending=True, stable=True)
    shown = any_coverage(on_image, pool.logits.shape[-1]).to(pool.logits.device)
    masks = ((pool.logits[order] > 0) & shown).flatten(1).float()
    area = masks.sum(dim=1)
    common = masks @ masks.T
    iou = common / (area[:, None] + area[None, :] - common).clamp_min(1)
    alike = (iou > overlap).cpu().numpy()
    kept: list[int] = []
    for candidate in np.flatnonzero(area.cpu().numpy() > 0):
        if not alike[candidate, kept].any():
            kept.append(int(candidate))
    chosen = order[kept or [0]]
    return Pool(pool.logits[chosen], pool.predicted_iou[chosen])


def score_pool(
    pool: Pool,
    similarity: torch.Tensor,
    shown: torch.Tensor,
    matched: np.ndarray,
    weights: PoolScore,
    random: np.random.Generator,
) -> torch.Tensor:
    """Matcher's score of each mask, higher is better.

    The earth mover's distance between two uniform samples of equal size is the mean cost of their best assignment, so
    that is what is computed, on seeded samples, with cost (1 - cosine) / 2.

    Args:
        pool: the candidates.
        similarity: (structure's places, target's places) cosine of features.
        shown: (e, e) bool, the target's places in the order of ``similarity``'s columns.
        matched: indices into the target's places.
        weights: of the score's terms.
        random: for the samples.

    Returns:
        (K,) float.
    """
    coverage = F.adaptive_avg_pool2d((pool.logits > 0).float()[None], shown.shape)[0][:, shown]
    cost = ((1 - similarity) / 2).cpu().numpy()
    is_matched = np.zeros(cost.shape[1], bool)
    is_matched[matched] = True
    return torch.tensor([_score(part, cost, is_matched, weights, random) for part in coverage.cpu().numpy()])


def _score(
    coverage: np.ndarray, cost: np.ndarray, is_matched: np.ndarray, weights: PoolScore, random: np.random.Generator
) -> float:
    """Score of one mask that covers the part ``coverage`` (places,) of each place."""
    places = coverage >= 0.5 if coverage.max() >= 0.5 else coverage > 0
    if not places.any():
        return 0.0
    both = (is_matched & places).sum()
    purity_coverage = (both / places.sum()) * (both / is_matched.sum())
    count = min(weights.samples, len(cost), int(places.sum()))
    rows = random.choice(len(cost), count, replace=False)
    columns = random.choice(np.flatnonzero(places), count, replace=False)
    sample = cost[np.ix_(rows, columns)]
    distance = sample[linear_sum_assignment(sample)].mean()
    return float(weights.alpha * (1 - distance) + weights.beta * purity_coverage)
