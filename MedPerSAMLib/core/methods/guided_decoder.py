"""SAM's mask decoder with PerSAM's two guides: a bias on where the tokens look, and the target added to the tokens.

Zhang et al., "Personalize Segment Anything Model with One Shot", ICLR 2024, section 3.2: target-guided attention and
target-semantic prompting. The forward pass is ``sam.two_way``, which knows both, because the released classes
take neither guide; no weight and no class is changed.
"""

from __future__ import annotations

import torch

from MedPerSAMLib.core.sam.predictor import Decoded, Predictor, Prompts, embed_prompts, read_out
from MedPerSAMLib.core.sam.two_way import two_way


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
    queries, keys = two_way(
        decoder.transformer,
        embeddings + dense,
        sam.prompt_encoder.get_dense_pe(),
        tokens,
        attention_bias.to(embeddings).flatten(1),
        target.to(tokens),
    )
    logits, iou = read_out(decoder, queries, keys, embeddings.shape)
    keep = slice(1, None) if multimask else slice(0, 1)
    return Decoded(logits[:, keep], iou[:, keep].clamp(0, 1))
