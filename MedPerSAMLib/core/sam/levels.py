"""Features from inside an image encoder, which ProMISe's auto-prompting module looks at beside the embedding.

The paper takes the outputs of blocks 6, 9 and 12 of ViT-B. Deeper ViTs give those at the same shares of their depth; encoders
without such blocks give their own stages [I]: MobileSAM its last three, the embedded model strides 8 and 16 and its embedding.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from torch.nn import functional as F

from MedPerSAMLib.core.precision import encoder_precision
from MedPerSAMLib.core.sam.predictor import Predictor

SHARES = (0.5, 0.75, 1.0)
"""Of a ViT's depth: blocks 6, 9 and 12 of 12."""

_WIDTHS: WeakKeyDictionary[Predictor, tuple[int, ...]] = WeakKeyDictionary()
"""What :func:`level_widths` found; whoever looks at features asks for it with each batch."""


def encode_levels(predictor: Predictor, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings and inner features of (B, 1 or 3, s, s) frames in 0..1.

    Returns:
        (B, C, e, e) embeddings as ``Predictor.encode`` gives them, and (B, L, e, e) the inner features of three levels,
        resampled to the embedding's grid, one after the other; both float32 on the device.
    """
    encoder = predictor.sam.image_encoder
    embeddings, inner = [], []
    with torch.inference_mode(), encoder_precision(encoder, predictor.device):
        for start in range(0, len(frames), predictor.batch):
            embedding, levels = _run(encoder, predictor.normalise(frames[start : start + predictor.batch]))
            side = embedding.shape[-1]
            fitted = [F.interpolate(x.float(), (side, side), mode="bilinear", align_corners=False) for x in levels]
            embeddings.append(embedding.float())
            inner.append(torch.cat(fitted, dim=1))
    return torch.cat(embeddings), torch.cat(inner)


def level_widths(predictor: Predictor) -> tuple[int, ...]:
    """Channels of the three levels; encodes an empty frame when first asked."""
    if predictor not in _WIDTHS:
        with torch.inference_mode():
            frame = torch.zeros(1, 1, predictor.frame_size, predictor.frame_size)
            _, levels = _run(predictor.sam.image_encoder, predictor.normalise(frame))
        _WIDTHS[predictor] = tuple(level.shape[1] for level in levels)
    return _WIDTHS[predictor]


def _run(encoder: torch.nn.Module, frames: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    if hasattr(encoder, "levels"):
        _, eight, sixteen, embedding = encoder.levels(frames)
        return embedding, [eight, sixteen, embedding]
    if hasattr(encoder, "blocks"):
        blocks = encoder.blocks
        chosen = [blocks[round(share * len(blocks)) - 1] for share in SHARES]
        embedding, outputs = _hooked(encoder, chosen, frames)
        # A ViT's tokens come as (B, h, w, C).
        return embedding, [x.permute(0, 3, 1, 2) for x in outputs]
    return _hooked(encoder, list(encoder.layers)[-3:], frames)


def _hooked(
    encoder: torch.nn.Module, modules: list[torch.nn.Module], frames: torch.Tensor
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The encoder's output and those of some of its modules."""
    seen: list[torch.Tensor] = []
    hooks = [module.register_forward_hook(lambda _module, _inputs, output: seen.append(output)) for module in modules]
    try:
        return encoder(frames), seen
    finally:
        for hook in hooks:
            hook.remove()
