"""PerSAM-F: PerSAM that learns, on the annotated image, how to mix SAM's three mask scales.

Zhang et al., "Personalize Segment Anything Model with One Shot", ICLR 2024, section 3.3; METHOD.md section 2. Two numbers
are trained; SAM stays frozen.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from MedPerSAMLib.core.methods.cascade import refine_with_box
from MedPerSAMLib.core.methods.per_image import Annotated, PerImageMethod, PerImageSettings, any_coverage
from MedPerSAMLib.core.methods.similarity import cosine_map, extreme_points
from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.core.sam.predictor import Decoded, Predictor, Prompts


@dataclass(frozen=True)
class PerSAMFSettings(PerImageSettings):
    """How the two weights are trained; the values are the public code's (METHOD.md section 2).

    Attributes:
        steps: of AdamW.
        learning_rate: at the start; it falls to 0 along a cosine.
        focal_alpha: weight of the structure's pixels in the focal loss.
        focal_gamma: how much the focal loss spares pixels that are right already.
    """

    steps: int = 1000
    learning_rate: float = 1e-3
    focal_alpha: float = 0.25
    focal_gamma: float = 2.0


@dataclass(frozen=True)
class ScaleMix:
    """What PerSAM-F learns from the annotated image.

    Attributes:
        prototype: (C,) half the mean, half the maximum of the structure's embeddings.
        weights: (3,) of the three mask scales; they sum to 1.
    """

    prototype: torch.Tensor
    weights: torch.Tensor


class PerSAMF(PerImageMethod):
    """One similarity point, the learned mixture of three masks, then two passes with a box."""

    summary = "PerSAM-F (ICLR 2024): similarity point, two weights learned for SAM's mask scales, cascade"
    phase = "PerSAM-F"
    settings_class = PerSAMFSettings

    def learn(self, predictor: Predictor, annotated: Annotated, progress: Progress) -> ScaleMix:
        """The prototype and the weights that make the mixture fit the annotated mask best.

        Raises:
            Cancelled: the user asked for it.
        """
        embedding = annotated.embedding
        inside = embedding[:, any_coverage(annotated.mask, predictor.embedding_size).to(embedding.device)]
        prototype = inside.mean(dim=1) / 2 + inside.amax(dim=1) / 2
        on_mask = any_coverage(annotated.on_image, predictor.mask_size).to(embedding.device)
        points, labels = _positive_point(predictor, embedding[None], prototype, on_mask)
        logits = predictor.decode(embedding[None], Prompts(points, labels), multimask=True).logits[0]
        # [I] Fitted at the decoder's resolution: the public code enlarges logits and mask first, which costs time only.
        truth = F.adaptive_avg_pool2d(annotated.mask[None], predictor.mask_size)[0].to(embedding.device)
        return ScaleMix(prototype, fit_scale_weights(logits[:, on_mask], truth[on_mask], self.settings, progress))

    def segment(
        self, predictor: Predictor, learned: ScaleMix, embeddings: torch.Tensor, on_image: torch.Tensor, seed: int
    ) -> Decoded:
        """Point, mixed mask, then twice the box and logits of the last mask."""
        on_mask = any_coverage(on_image, predictor.mask_size).to(embeddings.device)
        points, labels = _positive_point(predictor, embeddings, learned.prototype, on_mask)
        scales = predictor.decode(embeddings, Prompts(points, labels), multimask=True)
        mixed = Decoded(
            torch.einsum("bkhw,k->bhw", scales.logits, learned.weights)[:, None],
            torch.einsum("bk,k->b", scales.predicted_iou, learned.weights)[:, None].clamp(0, 1),
        )
        for _ in range(2):
            mixed = refine_with_box(predictor, embeddings, points, labels, mixed, on_mask)
        return mixed


def fit_scale_weights(
    logits: torch.Tensor, truth: torch.Tensor, settings: PerSAMFSettings, progress: Progress
) -> torch.Tensor:
    """The (3,) weights, summing to 1, whose mixture of (3, P) mask logits fits the (P,) mask in 0..1 best.

    Loss: soft Dice plus focal; two weights are free and start at 1/3, the first is what they leave of 1.

    Raises:
        Cancelled: the user asked for it.
    """
    logits, truth = logits.clone(), truth.clone()  # clones of inference tensors may enter a gradient
    free = torch.full((2,), 1 / 3, device=logits.device, requires_grad=True)
    optimiser = torch.optim.AdamW([free], lr=settings.learning_rate, eps=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.steps)
    for step in range(settings.steps):
        progress.step("mixing mask scales", step, settings.steps)
        mixture = _all_weights(free) @ logits
        loss = _dice_loss(mixture, truth) + _focal_loss(mixture, truth, settings.focal_alpha, settings.focal_gamma)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return _all_weights(free).detach()


def _all_weights(free: torch.Tensor) -> torch.Tensor:
    return torch.cat([1 - free.sum(dim=0, keepdim=True), free])


def _dice_loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    mask = logits.sigmoid()
    return 1 - (2 * (mask * truth).sum() + 1) / (mask.sum() + truth.sum() + 1)


def _focal_loss(logits: torch.Tensor, truth: torch.Tensor, alpha: float, gamma: float) -> torch.Tensor:
    mask = logits.sigmoid()
    right = mask * truth + (1 - mask) * (1 - truth)
    weight = (alpha * truth + (1 - alpha) * (1 - truth)) * (1 - right) ** gamma
    return (weight * F.binary_cross_entropy_with_logits(logits, truth, reduction="none")).mean()


def _positive_point(
    predictor: Predictor, embeddings: torch.Tensor, prototype: torch.Tensor, on_mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The most similar place of each target as points (B, 1, 2) and labels (B, 1)."""
    most, _ = extreme_points(cosine_map(embeddings, prototype), on_mask, predictor.frame_size)
    return most[:, None], torch.ones(len(most), 1, dtype=torch.int64)
