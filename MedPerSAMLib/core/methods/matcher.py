"""Matcher: features matched both ways choose points, and the best of many masks are united.

Liu et al., "Matcher: Segment Anything with One Shot Using All-Purpose Feature Matching", ICLR 2024; METHOD.md section 2.
The paper matches DINOv2 features. Here they are SAM's own embeddings, so that it needs no second model [I]; SAM's are
made for edges more than for meaning, so this is a weaker Matcher than the paper's.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from scipy.optimize import linear_sum_assignment
from torch.nn import functional as F

from MedPerSAMLib.core.methods.mask_pool import PoolScore, decode_pool, distinct_masks, score_pool
from MedPerSAMLib.core.methods.per_image import Annotated, PerImageMethod, PerImageSettings, any_coverage
from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.core.sam.predictor import Decoded, Predictor


@dataclass(frozen=True)
class MatcherSettings(PerImageSettings):
    """Matcher's numbers: the public code's for one annotated image, else ours [I].

    Attributes:
        centres: k-means++ centres that the matched points are reduced to.
        subset_sizes: fewest and most points in a random subset.
        subsets: random subsets for each size [I: the public code draws 30; decoding them is nearly all of the time].
        overlap: IoU above which the mask of lower predicted IoU is taken for the same mask; 1 keeps all, as the public
            code's default does.
        score: weights of a mask's score.
        united: share of the best score that a mask needs to enter the union [I: the public code's 0.7 goes with a pool
            full of near doubles; after their suppression it would unite masks of different things].
        most_united: masks united at most.
    """

    centres: int = 8
    subset_sizes: tuple[int, int] = (4, 6)
    subsets: int = 5
    overlap: float = 0.9
    score: PoolScore = field(default_factory=PoolScore)
    united: float = 0.98
    most_united: int = 10


@dataclass(frozen=True)
class AnnotatedPatches:
    """The annotated image's patch features.

    Attributes:
        features: (places, C), L2-normalised, of the places that show the image.
        inside: (places,) bool, which of them the structure touches.
    """

    features: torch.Tensor
    inside: torch.Tensor


class Matcher(PerImageMethod):
    """Bidirectional matching, random subsets of matched points, a pool of masks, and the union of the best."""

    summary = "Matcher (ICLR 2024) on SAM's own features in place of DINOv2: two-way matching, mask pool, best united"
    phase = "Matcher"
    settings_class = MatcherSettings
    targets_at_once = 1

    def learn(self, predictor: Predictor, annotated: Annotated, progress: Progress) -> AnnotatedPatches:
        """Normalised features of the annotated image and where the structure is."""
        size, device = predictor.embedding_size, annotated.embedding.device
        shown = any_coverage(annotated.on_image, size).to(device)
        inside = any_coverage(annotated.mask, size).to(device)
        return AnnotatedPatches(F.normalize(annotated.embedding[:, shown].T, dim=1), inside[shown])

    def segment(
        self, predictor: Predictor, learned: AnnotatedPatches, embeddings: torch.Tensor, on_image: torch.Tensor, seed: int
    ) -> Decoded:
        """Each target by itself, with the same random numbers."""
        decoded = [self._segment_one(predictor, learned, embedding, on_image, seed) for embedding in embeddings]
        return Decoded(torch.cat([d.logits for d in decoded]), torch.cat([d.predicted_iou for d in decoded]))

    def _segment_one(
        self, predictor: Predictor, learned: AnnotatedPatches, embedding: torch.Tensor, on_image: torch.Tensor, seed: int
    ) -> Decoded:
        random = np.random.default_rng(seed)
        size = predictor.embedding_size
        shown = any_coverage(on_image, size).to(embedding.device)
        similarity = learned.features @ F.normalize(embedding[:, shown].T, dim=1).T
        matched = two_way_matches(similarity.cpu().numpy(), learned.inside.cpu().numpy())
        places = torch.nonzero(shown).cpu().numpy()

        scale = predictor.frame_size / size
        points = (places[matched][:, ::-1] + 0.5) * scale
        subsets = _random_subsets(_centres(points, self.settings.centres, seed), self.settings, random)
        pool = distinct_masks(decode_pool(predictor, embedding, subsets), on_image, self.settings.overlap)
        scores = score_pool(pool, similarity[learned.inside], shown, matched, self.settings.score, random)
        best = torch.argsort(scores, descending=True, stable=True)[: self.settings.most_united]
        best = best[scores[best] >= self.settings.united * scores.max()]
        return Decoded(
            pool.logits[best].amax(dim=0)[None, None], pool.predicted_iou[best].mean().reshape(1, 1)
        )


def two_way_matches(similarity: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The target's places that match the structure, both ways.

    Every place of the structure is assigned another place of the target, and these are assigned places of the annotated
    image; kept are those that return into the structure (all of them where none does), and of more than 40 the better
    half, as in the public code.

    Args:
        similarity: (annotated places, target places) cosine.
        inside: (annotated places,) bool, at least one true.

    Returns:
        Indices of target places, sorted, each once.
    """
    sources, there = linear_sum_assignment(similarity[inside], maximize=True)
    back_order, back = linear_sum_assignment(similarity.T[there], maximize=True)
    returned = np.zeros(len(there), bool)
    returned[back_order] = inside[back]
    if returned.any():
        sources, there = sources[returned], there[returned]
    if len(there) > _MANY_MATCHES:
        better = np.argsort(-similarity[inside][sources, there], kind="stable")[: len(there) // 2]
        there = there[better]
    return np.sort(there)


_MANY_MATCHES = 40
"""More matches than this are halved (public code)."""


def _centres(points: np.ndarray, count: int, seed: int) -> np.ndarray:
    """(K, 2) k-means++ centres of (N, 2) points, at most ``count`` of them."""
    if len(points) <= count:
        return points
    centres, labels = kmeans2(points, count, minit="++", seed=seed)
    return centres[np.unique(labels)]


def _random_subsets(points: np.ndarray, settings: MatcherSettings, random: np.random.Generator) -> list[np.ndarray]:
    """Subsets (n, 2) of (K, 2) points, ``settings.subsets`` of each size, without the same one twice."""
    few, many = (min(size, len(points)) for size in settings.subset_sizes)
    chosen = {
        tuple(sorted(random.choice(len(points), size, replace=False).tolist()))
        for size in range(few, many + 1)
        for _ in range(settings.subsets)
    }
    return [points[list(subset)] for subset in sorted(chosen)]
