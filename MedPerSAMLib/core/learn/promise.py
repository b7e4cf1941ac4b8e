"""ProMISe: prompts and a shift of the decoder's tokens, learned through the frozen SAM (METHOD.md section 3).

APM makes points; IPS adds a learned shift to the frozen mask tokens, made from the image. Neither sees a coordinate: gradients
flow through SAM's frozen prompt encoder and decoder. The mask is the first multimask output, as in the paper.

[I] Additions, because a volume has slices without the structure and points always ask for something: a presence output reads the
embedding inside the mask that SAM made, and its log-odds join the mask's. Coordinates pass through one sigmoid, not two.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from MedPerSAMLib.core.learn.inputs import Inputs
from MedPerSAMLib.core.learn.losses import binary_loss
from MedPerSAMLib.core.learn.point_makers import point_labels
from MedPerSAMLib.core.sam.predictor import Prompts, embed_prompts, read_out

_OUTPUT = 1
"""The first of the three multimask outputs, after the single-mask one."""


class Promise(nn.Module):
    """Learned prompts of a frozen SAM.

    Args:
        sam: the frozen SAM; neither changed nor part of the weights.
        width: channels of the embedding.
        classes: structures.
        points: PointTrunk or PointQueries; None makes no points.
        shift: whether the mask tokens are shifted.
    """

    def __init__(self, sam: nn.Module, width: int, classes: int, points: nn.Module | None, shift: bool) -> None:
        super().__init__()
        object.__setattr__(self, "_sam", sam)  # not a submodule: its weights are not ours to save or move
        self.classes, self.points = classes, points
        self.tokens = sam.mask_decoder.num_mask_tokens
        self.shift = _shift_maker(width, classes * self.tokens) if shift else None
        self.presence = nn.Linear(2 * width, classes)

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """(B, 1 + classes, m, m) logits; the background's are 0."""
        places = self.places(inputs)
        maps = [
            self.ask(inputs, number, None if places is None else places[:, number]) for number in range(self.classes)
        ]
        logits = torch.stack(maps, dim=1)
        return torch.cat([torch.zeros_like(logits[:, :1]), logits], dim=1)

    def places(self, inputs: Inputs) -> torch.Tensor | None:
        """(B, classes, POINTS, 2) points, (x, y) in frame pixels; None where none are made."""
        if self.points is None:
            return None
        return self.points(inputs.levels) * self._sam.prompt_encoder.input_image_size[0]

    def ask(
        self, inputs: Inputs, number: int, places: torch.Tensor | None, labels: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(B, m, m) logits of structure ``number`` (from 0), presence included.

        Args:
            inputs: of B frames.
            number: of the structure.
            places: (B, N, 2) points, (x, y) in frame pixels; None for none.
            labels: (B, N) of the points; the learned ones' unless given.
        """
        mask, present = self._answer(inputs, torch.full((len(inputs),), number), places, labels)
        return joint_logits(mask, present)

    def loss(self, inputs: Inputs, labels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Cross-entropy and Dice of one structure per frame, and of the presence of it.

        One structure per frame and step, because the decoder works on one prompt set at a time; most of the time one that is
        there.

        Args:
            inputs: of B frames.
            labels: (B, m, m) int64.
            generator: draws the structures, on the CPU.
        """
        chosen = _draw_classes(labels, self.classes, generator)
        places = self.places(inputs)
        if places is not None:
            places = places[torch.arange(len(places)), chosen]
        mask, present = self._answer(inputs, chosen, places, None)
        truth = (labels == (chosen + 1).to(labels.device)[:, None, None]).float()
        exists = truth.amax((1, 2))
        return binary_loss(mask, truth, exists) + 0.5 * F.binary_cross_entropy_with_logits(present, exists)

    def _answer(
        self, inputs: Inputs, chosen: torch.Tensor, places: torch.Tensor | None, labels: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, m, m) mask logits and (B,) presence log-odds of the structure chosen for each frame."""
        embedding = inputs.embedding
        if places is not None and labels is None:
            labels = point_labels().to(places.device).expand(len(places), -1)
        shift = None
        if self.shift is not None:
            shifts = self.shift(embedding.mean((2, 3))).unflatten(1, (self.classes, self.tokens, -1))
            shift = shifts[torch.arange(len(chosen)), chosen]
        prompts = Prompts() if places is None else Prompts(places, labels)
        mask = decode_shifted(self._sam, embedding, prompts, shift)[:, _OUTPUT]
        inside = F.interpolate(mask.detach()[:, None].sigmoid(), embedding.shape[-2:], mode="area")
        seen = (embedding * inside).sum((2, 3)) / inside.sum((2, 3)).clamp(min=0.1)
        present = self.presence(torch.cat([seen, embedding.mean((2, 3))], dim=1))
        return mask, present[torch.arange(len(chosen)), chosen]


def decode_shifted(
    sam: nn.Module, embeddings: torch.Tensor, prompts: Prompts, shift: torch.Tensor | None
) -> torch.Tensor:
    """As ``sam.predictor.decode``, with a shift (B, mask tokens, C) of the frozen mask tokens; (B, 4, m, m) logits."""
    decoder = sam.mask_decoder
    if prompts.points is None and prompts.boxes is None and prompts.mask_logits is None:
        # SAM's own prompt encoder needs some prompt; without one there are no sparse tokens.
        sparse = embeddings.new_zeros(len(embeddings), 0, embeddings.shape[1])
        dense = sam.prompt_encoder.no_mask_embed.weight.view(1, -1, 1, 1).expand_as(embeddings)
    else:
        sparse, dense = embed_prompts(sam, prompts, len(embeddings))
    mask_tokens = decoder.mask_tokens.weight.expand(len(embeddings), -1, -1)
    if shift is not None:
        mask_tokens = mask_tokens + shift
    tokens = torch.cat([decoder.iou_token.weight.expand(len(embeddings), -1, -1), mask_tokens, sparse], dim=1)
    position = sam.prompt_encoder.get_dense_pe().expand(len(embeddings), -1, -1, -1)
    logits, _ = read_out(decoder, *decoder.transformer(embeddings + dense, position, tokens), embeddings.shape)
    return logits


def joint_logits(mask: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Log-odds (B, m, m) that a pixel is in the mask and the structure is there at all."""
    log_probability = F.logsigmoid(mask) + F.logsigmoid(present)[:, None, None]
    # log p - log(1 - p), kept away from p = 1.
    return log_probability - torch.log1p(-log_probability.exp().clamp(max=1 - 1e-6))


def _shift_maker(width: int, tokens: int) -> nn.Sequential:
    layers = [nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, 4 * width), nn.ReLU()]
    last = nn.Linear(4 * width, tokens * width)
    nn.init.normal_(last.weight, std=1e-3)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, last)


def _draw_classes(labels: torch.Tensor, classes: int, generator: torch.Generator, there: float = 0.8) -> torch.Tensor:
    """(B,) class from 0 for each frame; where some class is there, one that is with probability ``there`` or more."""
    flat = labels.flatten(1).cpu()
    exists = torch.stack([(flat == number + 1).any(dim=1) for number in range(classes)], dim=1).float()
    wanted = torch.rand(len(labels), 1, generator=generator) < there
    weights = torch.where(wanted & exists.any(dim=1, keepdim=True), exists, torch.ones_like(exists))
    return torch.multinomial(weights, 1, generator=generator)[:, 0]
