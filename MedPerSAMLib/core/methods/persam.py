"""PerSAM: one annotated image personalises a frozen SAM, without any training.

Zhang et al., "Personalize Segment Anything Model with One Shot", ICLR 2024; METHOD.md section 2. Written anew after the
public code's description; differences are marked [I] there and here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from MedPerSAMLib.core.methods.cascade import best_of, refine_with_box
from MedPerSAMLib.core.methods.guided_decoder import guided_decode
from MedPerSAMLib.core.methods.per_image import Annotated, PerImageMethod, PerImageSettings, any_coverage
from MedPerSAMLib.core.methods.similarity import cosine_map, extreme_points, standardised
from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.core.sam.predictor import Decoded, Predictor, Prompts


@dataclass(frozen=True)
class PerSAMSettings(PerImageSettings):
    """PerSAM's parts, each of which can be left out.

    Attributes:
        attention: guide the tokens' attention to the image by the similarity map.
        semantic: add the prototype to the token queries.
    """

    attention: bool = True
    semantic: bool = True


class PerSAM(PerImageMethod):
    """Similarity gives a positive and a negative point and guides the decoder; two passes refine the mask."""

    summary = "PerSAM (ICLR 2024): similarity points, guided decoder, cascade; no training"
    phase = "PerSAM"
    settings_class = PerSAMSettings

    def learn(self, predictor: Predictor, annotated: Annotated, progress: Progress) -> torch.Tensor:
        """The prototype (C,): the mean embedding of the places that the mask touches."""
        inside = any_coverage(annotated.mask, predictor.embedding_size).to(annotated.embedding.device)
        return annotated.embedding[:, inside].mean(dim=1)

    def segment(
        self, predictor: Predictor, learned: torch.Tensor, embeddings: torch.Tensor, on_image: torch.Tensor, seed: int
    ) -> Decoded:
        """Points, then points and logits, then points, box and logits."""
        on_mask, on_embedding = (
            any_coverage(on_image, size).to(embeddings.device)
            for size in (predictor.mask_size, predictor.embedding_size)
        )
        similarity = cosine_map(embeddings, learned)
        points = torch.stack(extreme_points(similarity, on_mask, predictor.frame_size), dim=1)
        labels = torch.tensor([[1, 0]]).expand(len(points), -1)

        # [I] Padding gets the least guidance; the public code stretches the map of a non-square image over the padding.
        guidance = standardised(similarity, on_embedding).sigmoid().masked_fill(~on_embedding, 0.0)
        first = guided_decode(
            predictor,
            embeddings,
            Prompts(points, labels),
            guidance if self.settings.attention else torch.zeros_like(guidance),
            learned if self.settings.semantic else torch.zeros_like(learned),
        )
        second = best_of(predictor.decode(embeddings, Prompts(points, labels, None, first.logits), multimask=True))
        return refine_with_box(predictor, embeddings, points, labels, second, on_mask)
