"""AutoSAM's ViT head: SAM's mask decoder without prompts, one copy of its transformer per structure (METHOD.md section 4).

Started from SAM's own weights, with SAM's own position code. Per structure one IoU token and two mask tokens; slot 0 gives the
structure's map. [I] The convolutions that enlarge the image are shared by the structures and trained too.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from MedPerSAMLib.core.learn.inputs import Inputs
from MedPerSAMLib.core.sam.two_way import two_way

_TOKENS = 3
"""One IoU token and two mask tokens."""


class VitHead(nn.Module):
    """Prompt-free copies of a frozen SAM's decoder.

    Args:
        sam: the frozen SAM; copied, not changed.
        classes: structures.
    """

    def __init__(self, sam: nn.Module, classes: int) -> None:
        super().__init__()
        decoder = sam.mask_decoder
        start = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight[: _TOKENS - 1]])
        self.tokens = nn.Parameter(start.detach().clone().expand(classes, -1, -1).clone())
        self.transformers = nn.ModuleList(_trainable(decoder.transformer) for _ in range(classes))
        self.hypernetworks = nn.ModuleList(_trainable(decoder.output_hypernetworks_mlps[0]) for _ in range(classes))
        self.upscaling = _trainable(decoder.output_upscaling)
        with torch.no_grad():
            self.register_buffer("position", sam.prompt_encoder.get_dense_pe().detach().clone())
            self.register_buffer("no_mask", sam.prompt_encoder.no_mask_embed.weight.detach().clone().view(1, -1, 1, 1))

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """(B, 1 + classes, 4e, 4e) logits; the background's are 0."""
        image = inputs.embedding + self.no_mask
        maps = []
        for tokens, transformer, hypernetwork in zip(self.tokens, self.transformers, self.hypernetworks):
            seen, keys = two_way(transformer, image, self.position, tokens.expand(len(image), -1, -1))
            features = self.upscaling(keys.transpose(1, 2).reshape(image.shape))
            weights = hypernetwork(seen[:, 1])[:, None]
            maps.append((weights @ features.flatten(2)).unflatten(2, features.shape[-2:]))
        logits = torch.cat(maps, dim=1)
        return torch.cat([torch.zeros_like(logits[:, :1]), logits], dim=1)


def _trainable(module: nn.Module) -> nn.Module:
    return copy.deepcopy(module).train().requires_grad_(True)
