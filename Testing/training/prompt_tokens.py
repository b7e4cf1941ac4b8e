"""Point prompts of a SAM for training: the same tokens as segment-anything's, without waiting for the GPU.

segment-anything adds the label codes by boolean indexing, which makes the CPU wait for all work queued on a GPU; and under
autocast it computes the position code in half precision, unlike at inference.
"""

from __future__ import annotations

import types

import torch
from torch import nn


def embed_points_without_waiting(sam: nn.Module) -> None:
    """Replace how this SAM's prompt encoder embeds points and positions; weights and values stay."""
    encoder = sam.prompt_encoder
    encoder._embed_points = types.MethodType(_embed_points, encoder)
    layer = encoder.pe_layer
    original = layer._pe_encoding

    def in_full_precision(coordinates: torch.Tensor) -> torch.Tensor:
        with torch.autocast(coordinates.device.type, enabled=False):
            return original(coordinates.float())

    layer._pe_encoding = in_full_precision


def _embed_points(encoder: nn.Module, points: torch.Tensor, labels: torch.Tensor, pad: bool) -> torch.Tensor:
    """(B, N, 2) points and (B, N) labels -> (B, N (+ 1), C) tokens."""
    points = points + 0.5  # to the pixel's centre
    if pad:
        points = torch.cat([points, points.new_zeros(len(points), 1, 2)], dim=1)
        labels = torch.cat([labels, labels.new_full((len(labels), 1), -1)], dim=1)
    tokens = encoder.pe_layer.forward_with_coords(points, encoder.input_image_size)
    labels = labels[..., None]
    codes = (encoder.not_a_point_embed.weight, encoder.point_embeddings[0].weight, encoder.point_embeddings[1].weight)
    tokens = tokens.masked_fill(labels == -1, 0.0)
    return tokens + sum((labels == value) * code for value, code in zip((-1, 0, 1), codes))
