"""SAM's mask decoder with PerSAM's two guides: a bias on where the tokens look, and the target added to the tokens.

Zhang et al., "Personalize Segment Anything Model with One Shot", ICLR 2024, section 3.2: target-guided attention and
target-semantic prompting. The forward pass is written here over segment-anything's own submodules, because its classes
take neither guide; no weight and no class is changed.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from MedPerSAMLib.core.sam.predictor import Decoded, Predictor, Prompts, embed_prompts, read_out


@torch.inference_mode()
def guided_decode(
    predictor: Predictor,
    embeddings: torch.Tensor,
    prompts: Prompts,
    attention_bias: torch.Tensor,
    target: torch.Tensor,
    multimask: bool = False,
) -> Decoded:
    """As ``Predictor.decode``, guided; zeros for both guides give exactly what that gives.

    [I] The bias is added to the scaled products of queries and keys, before their one softmax. The public code adds it to
    the softmax's result and takes a second softmax, which makes the attention almost even and differs from the plain
    decoder without any guide. There, too, adding the target in place shifts the tokens' position code; here it does not.

    Args:
        predictor: the frozen SAM, of any width.
        embeddings: (B, C, e, e).
        prompts: one prompt set per embedding.
        attention_bias: (B, e, e), added in every head of the token-to-image attention of each decoder layer, the same
            for every token; the final attention after the layers is left alone, as in the public code.
        target: (C,) added to all token queries before each decoder layer and before the final attention.
        multimask: three masks in place of one.
    """
    sam, embeddings = predictor.sam, embeddings.to(predictor.device)
    sparse, dense = embed_prompts(sam, prompts, len(embeddings))
    decoder = sam.mask_decoder
    output_tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([output_tokens.expand(len(embeddings), -1, -1), sparse], dim=1)
    position = sam.prompt_encoder.get_dense_pe().flatten(2).transpose(1, 2)
    keys = (embeddings + dense).flatten(2).transpose(1, 2)
    bias = attention_bias.to(keys).flatten(1)[:, None, None, :]

    transformer, queries, target = decoder.transformer, tokens, target.to(tokens)
    for layer in transformer.layers:
        queries, keys = _guided_layer(layer, queries + target, keys, tokens, position, bias)
    final = transformer.final_attn_token_to_image(q=queries + tokens + target, k=keys + position, v=keys)
    queries = transformer.norm_final_attn(queries + final)

    logits, iou = read_out(decoder, queries, keys, embeddings.shape)
    keep = slice(1, None) if multimask else slice(0, 1)
    return Decoded(logits[:, keep], iou[:, keep].clamp(0, 1))


def _guided_layer(
    layer: torch.nn.Module,
    queries: torch.Tensor,
    keys: torch.Tensor,
    query_position: torch.Tensor,
    key_position: torch.Tensor,
    bias: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """``TwoWayAttentionBlock.forward`` with a bias in the attention of the tokens (B, T, C) to the image (B, e*e, C)."""
    if layer.skip_first_layer_pe:
        queries = layer.self_attn(q=queries, k=queries, v=queries)
    else:
        placed = queries + query_position
        queries = queries + layer.self_attn(q=placed, k=placed, v=queries)
    queries = layer.norm1(queries)

    to_image = layer.cross_attn_token_to_image
    queries = layer.norm2(queries + _biased(to_image, queries + query_position, keys + key_position, keys, bias))
    queries = layer.norm3(queries + layer.mlp(queries))

    keys = layer.norm4(
        keys + layer.cross_attn_image_to_token(q=keys + key_position, k=queries + query_position, v=queries)
    )
    return queries, keys


def _biased(
    attention: torch.nn.Module, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """``Attention.forward`` with ``bias`` (B, 1, 1, keys) added to the scaled products before the softmax."""
    heads = attention.num_heads
    q, k, v = (
        project(x).unflatten(2, (heads, -1)).transpose(1, 2)
        for project, x in ((attention.q_proj, q), (attention.k_proj, k), (attention.v_proj, v))
    )
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.expand(-1, heads, q.shape[2], -1))
    return attention.out_proj(out.transpose(1, 2).flatten(2))
