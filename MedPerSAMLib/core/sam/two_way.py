"""SAM's two-way transformer for few tokens and a large image: the released module's weights and numbers (up to rounding), sooner.

A prompt set has about ten tokens, the image a thousand. So where tokens read the image, its projections to keys and values are moved
to the tokens' side of the products (they are linear); where they write into it, softmax runs along the long axis in memory. Kirillov et
al. 2023, "Segment Anything", appendix A (mask decoder).
"""

from __future__ import annotations

import torch
from torch import nn


def two_way(
    transformer: nn.Module,
    image: torch.Tensor,
    position: torch.Tensor,
    tokens: torch.Tensor,
    bias: torch.Tensor | None = None,
    target: torch.Tensor | float = 0.0,
    padding: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """As ``segment_anything.modeling.TwoWayTransformer.forward``, differentiable, and with PerSAM's guidance where it is given.

    Args:
        transformer: the released module.
        image: (B, C, h, w) embedding with the dense prompt added.
        position: (1 or B, C, h, w) its position code.
        tokens: (B, T, C) output tokens and sparse prompts.
        bias: (B, h * w) added in every head of the tokens' attention to the image in each layer, the same for every token.
        target: (C,) added to all tokens before each layer and in the final attention's query.
        padding: (B, T) bool, tokens that only fill up a batch and that nothing attends to; None for none.

    Returns:
        Tokens (B, T, C) and image (B, h * w, C).
    """
    image = image.flatten(2).transpose(1, 2)
    position = position.flatten(2).transpose(1, 2)
    known = tokens
    for layer in transformer.layers:
        tokens = tokens + target
        if layer.skip_first_layer_pe:
            tokens = attend(layer.self_attn, tokens, tokens, tokens, padding)
        else:
            placed = tokens + known
            tokens = tokens + attend(layer.self_attn, placed, placed, tokens, padding)
        tokens = layer.norm1(tokens)
        placed_image = image + position
        tokens = tokens + read_image(layer.cross_attn_token_to_image, tokens + known, placed_image, image, bias)
        tokens = layer.norm2(tokens)
        tokens = layer.norm3(tokens + layer.mlp(tokens))
        image = image + attend(layer.cross_attn_image_to_token, placed_image, tokens + known, tokens, padding)
        image = layer.norm4(image)
    final = read_image(transformer.final_attn_token_to_image, tokens + known + target, image + position, image)
    return transformer.norm_final_attn(tokens + final), image


def read_image(
    attention: nn.Module,
    tokens: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """``attention(q=tokens, k=keys, v=values)`` for few tokens (B, T, C) and many keys and values (B, N, C).

    ``bias`` (B, N) is added to the scaled products before the softmax.
    """
    count, heads = tokens.shape[1], attention.num_heads
    query = attention.q_proj(tokens).unflatten(2, (heads, -1))
    query = query * query.shape[-1] ** -0.5
    # A bias of the keys shifts all logits of a query alike: softmax does not see it.
    asked = torch.einsum("bthd,hdc->bthc", query, _by_head(attention.k_proj.weight, heads)).flatten(1, 2)
    logits = asked @ keys.transpose(1, 2)
    weight = (logits if bias is None else logits + bias[:, None]).softmax(2)
    seen = (weight @ values).unflatten(1, (count, heads))
    seen = torch.einsum("bthc,hdc->bthd", seen, _by_head(attention.v_proj.weight, heads)).flatten(2)
    return attention.out_proj(seen + attention.v_proj.bias)


def attend(
    attention: nn.Module,
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    padding: torch.Tensor | None = None,
) -> torch.Tensor:
    """``attention(q=queries, k=keys, v=values)`` for any queries (B, N, C) and few keys and values (B, T, C).

    Keys and values where ``padding`` (B, T) is true are not seen.
    """
    heads = attention.num_heads
    query = attention.q_proj(queries).unflatten(2, (heads, -1))
    key = attention.k_proj(keys).unflatten(2, (heads, -1)) * query.shape[-1] ** -0.5
    value = attention.v_proj(values).unflatten(2, (heads, -1))
    # (B, heads, T, N): softmax runs along whole rows of the long axis, not over a few numbers at a time.
    logits = key.transpose(1, 2) @ query.permute(0, 2, 3, 1)
    if padding is not None:
        logits = logits.masked_fill(padding[:, None, :, None], -torch.inf)
    weight = logits.softmax(2)
    seen = weight.transpose(2, 3) @ value.transpose(1, 2)
    return attention.out_proj(seen.transpose(1, 2).flatten(2))


def _by_head(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """(I, C) of a projection -> (heads, I / heads, C)."""
    return weight.unflatten(0, (heads, -1))
