"""ProMISe: prompts and a shift of the decoder's tokens, learned through the frozen SAM (METHOD.md section 3).

APM makes points; IPS adds a learned shift to the frozen mask tokens, made from the image. Neither sees a coordinate: gradients
flow through SAM's frozen prompt encoder and decoder. The mask is the first multimask output, as in the paper.

[I] Additions:
- The heat maps from which the points come are given to SAM as a mask prompt, too (``point_makers``): points alone tell a decoder
  that was made for clicks too little of what a few volumes show. Part of the training goes without it, so that points alone, where a
  user moved them, are answered as well. These rough masks have a loss of their own beside SAM's answer; the points still have none.
- With IPS alone nothing prompts: the shifted tokens must find the structure by themselves.
- A volume has slices without the structure, and prompts always ask for something: a presence output reads the embedding inside the
  mask that SAM made, and its log-odds join the mask's.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from MedPerSAMLib.core.learn.inputs import Inputs
from MedPerSAMLib.core.learn.losses import binary_loss, rough_loss
from MedPerSAMLib.core.learn.point_makers import places_of, point_labels, rough_mask
from MedPerSAMLib.core.learn.shift_maker import ShiftMaker
from MedPerSAMLib.core.sam.predictor import Prompts, embed_prompts, read_out
from MedPerSAMLib.core.sam.two_way import two_way

_OUTPUT = 1
"""The first of the three multimask outputs, after the single-mask one."""

_WITHOUT = 0.3
"""Part of the steps that prompt with points alone: they must say enough without the rough mask, or moving one would do nothing."""


_ROUGH = 1.0
"""Weight of the rough masks' own loss: a step asks SAM for one structure of each frame, and the heat maps learn from all."""


class Promise(nn.Module):
    """Learned prompts of a frozen SAM.

    Args:
        sam: the frozen SAM; neither changed nor part of the weights.
        width: channels of the embedding.
        classes: structures.
        points: PointTrunk, PointQueries or PointForms; None makes no points and no rough mask.
        shift: whether the mask tokens are shifted.
    """

    def __init__(self, sam: nn.Module, width: int, classes: int, points: nn.Module | None, shift: bool) -> None:
        super().__init__()
        object.__setattr__(self, "_sam", sam)  # not a submodule: its weights are not ours to save or move
        self.classes, self.points = classes, points
        self.shift = ShiftMaker(width, classes, sam.mask_decoder.num_mask_tokens) if shift else None
        self.presence = nn.Linear(2 * width, classes)

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """(B, 1 + classes, m, m) logits; the background's are 0."""
        heat = self._heat(inputs)
        maps = []
        for number in range(self.classes):
            chosen = torch.full((len(inputs),), number)
            maps.append(joint_logits(*self._answer(inputs, chosen, self._learned(heat, chosen, True))))
        logits = torch.stack(maps, dim=1)
        return torch.cat([torch.zeros_like(logits[:, :1]), logits], dim=1)

    def places(self, inputs: Inputs) -> torch.Tensor | None:
        """(B, classes, POINTS, 2) points, (x, y) in frame pixels; None where none are made."""
        heat = self._heat(inputs)
        return None if heat is None else places_of(heat) * self._sam.prompt_encoder.input_image_size[0]

    def ask(self, inputs: Inputs, number: int, places: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """(B, m, m) logits of structure ``number`` (from 0) from given points instead of the learned ones.

        The rough mask is left out, because it belongs to the learned points; and presence has no say, because whoever places
        a point says that the structure is there.

        Args:
            inputs: of B frames.
            number: of the structure.
            places: (B, N, 2) points, (x, y) in frame pixels.
            labels: (B, N) of the points.
        """
        chosen = torch.full((len(inputs),), number)
        return self._answer(inputs, chosen, Prompts(places, labels))[0]

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
        with_mask = bool(torch.rand(1, generator=generator) >= _WITHOUT)
        heat = self._heat(inputs)
        mask, present = self._answer(inputs, chosen, self._learned(heat, chosen, with_mask))
        truth = (labels == (chosen + 1).to(labels.device)[:, None, None]).float()
        exists = truth.amax((1, 2))
        loss = binary_loss(mask, truth, exists) + 0.5 * F.binary_cross_entropy_with_logits(present, exists)
        return loss if heat is None else loss + _ROUGH * rough_loss(rough_mask(heat), labels)

    def _heat(self, inputs: Inputs) -> torch.Tensor | None:
        """(B, classes, POINTS, e, e) heat maps of the points; None where none are made."""
        return None if self.points is None else self.points(inputs.levels)

    def _learned(self, heat: torch.Tensor | None, chosen: torch.Tensor, with_mask: bool) -> Prompts:
        """The learned prompts of the structure chosen for each frame; ``with_mask`` says whether the rough mask is one."""
        if heat is None:
            return Prompts()
        encoder, heat = self._sam.prompt_encoder, heat[torch.arange(len(chosen)), chosen]
        labels, rough = point_labels().to(heat.device).expand(len(heat), -1), None
        if with_mask:
            size = encoder.mask_input_size
            rough = F.interpolate(rough_mask(heat)[:, None], size, mode="bilinear", align_corners=False)
        return Prompts(places_of(heat) * encoder.input_image_size[0], labels, mask_logits=rough)

    def _answer(self, inputs: Inputs, chosen: torch.Tensor, prompts: Prompts) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, m, m) mask logits and (B,) presence log-odds of the structure chosen for each frame."""
        embedding = inputs.embedding
        shift = None if self.shift is None else self.shift(embedding, chosen)
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
    seen = two_way(decoder.transformer, embeddings + dense, sam.prompt_encoder.get_dense_pe(), tokens)
    logits, _ = read_out(decoder, *seen, embeddings.shape)
    return logits


def joint_logits(mask: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Log-odds (B, m, m) that a pixel is in the mask and the structure is there at all."""
    log_probability = F.logsigmoid(mask) + F.logsigmoid(present)[:, None, None]
    # log p - log(1 - p), kept away from p = 1.
    return log_probability - torch.log1p(-log_probability.exp().clamp(max=1 - 1e-6))


def _draw_classes(labels: torch.Tensor, classes: int, generator: torch.Generator, there: float = 0.8) -> torch.Tensor:
    """(B,) class from 0 for each frame; where some class is there, one that is with probability ``there`` or more."""
    flat = labels.flatten(1).cpu()
    exists = torch.stack([(flat == number + 1).any(dim=1) for number in range(classes)], dim=1).float()
    wanted = torch.rand(len(labels), 1, generator=generator) < there
    weights = torch.where(wanted & exists.any(dim=1, keepdim=True), exists, torch.ones_like(exists))
    return torch.multinomial(weights, 1, generator=generator)[:, 0]
