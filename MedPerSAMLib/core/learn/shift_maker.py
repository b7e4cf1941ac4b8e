"""ProMISe's incremental pattern shifting: a shift of SAM's frozen mask tokens, made from the image (METHOD.md section 3)."""

from __future__ import annotations

import torch
from torch import nn


class ShiftMaker(nn.Module):
    """Pooled embedding -> MLP -> one shift for each mask token.

    [I] The paper pools the whole embedding. Here each structure also pools the places that it attends to, so that its tokens learn
    how it looks in this image, and has a shift of its own that no image changes.

    Args:
        width: channels of the embedding.
        classes: structures.
        tokens: mask tokens of the decoder.
    """

    def __init__(self, width: int, classes: int, tokens: int) -> None:
        super().__init__()
        self.standard = nn.BatchNorm2d(width, affine=False)
        self.attend = nn.Parameter(torch.zeros(classes, width))
        self.own = nn.Parameter(torch.zeros(classes, tokens, width))
        self.layers = nn.Sequential(
            nn.Linear(2 * width, 4 * width), nn.ReLU(), nn.Linear(4 * width, 4 * width), nn.ReLU()
        )
        self.out = nn.Linear(4 * width, classes * tokens * width)
        nn.init.normal_(self.out.weight, std=1e-3)
        nn.init.zeros_(self.out.bias)

    def forward(self, embedding: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        """(B, tokens, width) shift for the structure ``chosen`` (B,), from 0, on each of (B, width, e, e) embeddings."""
        seen, rows = self.standard(embedding).flatten(2), torch.arange(len(chosen))
        attention = self.attend[chosen][:, None] @ seen
        attended = (attention.softmax(dim=-1) @ seen.transpose(1, 2))[:, 0]
        made = self.out(self.layers(torch.cat([attended, seen.mean(2)], dim=1)))
        return made.unflatten(1, (*self.own.shape,))[rows, chosen] + self.own[chosen]
