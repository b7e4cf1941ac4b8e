"""Encode slices once, in batches, and decode one prompt set per slice, in batches, on a frozen SAM.

The released predictor handles one image at a time, and its mask decoder repeats one image's embedding for every prompt
set. Here a batch holds one prompt set for each embedding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from MedPerSAMLib.core.precision import encoder_precision
from MedPerSAMLib.core.sam.two_way import two_way


@dataclass(frozen=True)
class Prompts:
    """One prompt set per embedding, for a batch of B; what is None is not given.

    Attributes:
        points: (B, N, 2) float, (x, y) in frame pixels.
        labels: (B, N) 1 positive, 0 negative, -1 padding, which has no effect on the answer.
        boxes: (B, 4) float, (x0, y0, x1, y1) in frame pixels.
        mask_logits: (B, 1, m, m) float with m = ``Predictor.mask_size``; positive inside, background about -10.
    """

    points: torch.Tensor | None = None
    labels: torch.Tensor | None = None
    boxes: torch.Tensor | None = None
    mask_logits: torch.Tensor | None = None

    def __getitem__(self, rows: slice) -> Prompts:
        return Prompts(*(None if v is None else v[rows] for v in (self.points, self.labels, self.boxes, self.mask_logits)))


@dataclass(frozen=True)
class Decoded:
    """Masks for a batch of B prompt sets.

    Attributes:
        logits: (B, M, m, m) float32 with m = ``Predictor.mask_size``; M = 3 with multimask, else 1.
        predicted_iou: (B, M) float32, the model's own estimate, clipped to 0..1.
    """

    logits: torch.Tensor
    predicted_iou: torch.Tensor


class Predictor:
    """A frozen SAM that works on batches of square frames.

    Args:
        sam: a ``segment_anything.modeling.Sam``; put into eval mode and frozen here.
        device: where it runs.
        batch: frames encoded at a time.
    """

    def __init__(self, sam: torch.nn.Module, device: str | torch.device = "cpu", batch: int = 8) -> None:
        self.device = torch.device(device)
        self.sam = sam.to(self.device).eval().requires_grad_(False)
        self.batch = batch
        self.frame_size: int = sam.prompt_encoder.input_image_size[0]
        self.embedding_size: int = sam.prompt_encoder.image_embedding_size[0]
        self.mask_size: int = 4 * self.embedding_size

    def normalise(self, frames: torch.Tensor) -> torch.Tensor:
        """(B, 1 or 3, s, s) in 0..1 -> (B, 3, s, s) as the encoder was trained on."""
        return (frames.expand(-1, 3, -1, -1).to(self.device) * 255 - self.sam.pixel_mean) / self.sam.pixel_std

    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        """Embed (B, 1 or 3, s, s) frames with values 0..1; returns (B, C, e, e) float32 on the device."""
        with torch.inference_mode(), encoder_precision(self.sam.image_encoder, self.device):
            parts = [
                self.sam.image_encoder(self.normalise(frames[start : start + self.batch])).float()
                for start in range(0, len(frames), self.batch)
            ]
        # Joined outside inference mode, so that heads may be trained on embeddings.
        return torch.cat(parts)

    def decode(self, embeddings: torch.Tensor, prompts: Prompts, multimask: bool = False) -> Decoded:
        """Masks for (B, C, e, e) embeddings, one prompt set each."""
        with torch.inference_mode():
            logits, iou = decode(self.sam, embeddings.to(self.device), prompts)
        keep = slice(1, None) if multimask else slice(0, 1)
        # Copied outside inference mode, so that masks may be targets of a loss.
        return Decoded(logits[:, keep].clone(), iou[:, keep].clamp(0, 1))


def decode(sam: torch.nn.Module, embeddings: torch.Tensor, prompts: Prompts) -> tuple[torch.Tensor, torch.Tensor]:
    """All four masks of a batch, differentiable: logits (B, 4, m, m) and predicted IoU (B, 4).

    The same computation as ``MaskDecoder.predict_masks``, without its repetition of the embedding per prompt.
    """
    sparse, dense = embed_prompts(sam, prompts, len(embeddings))
    decoder = sam.mask_decoder
    position = sam.prompt_encoder.get_dense_pe()
    output_tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([output_tokens.expand(len(embeddings), -1, -1), sparse], dim=1)
    padding = _padding(prompts, len(output_tokens), tokens)
    tokens_out, image_out = two_way(decoder.transformer, embeddings + dense, position, tokens, padding=padding)
    return read_out(decoder, tokens_out, image_out, embeddings.shape)


def _padding(prompts: Prompts, before: int, tokens: torch.Tensor) -> torch.Tensor | None:
    """(B, T) bool, which (B, T, C) tokens stand for padded points, of which the first comes after ``before`` others; None for none."""
    if prompts.labels is None or not (prompts.labels < 0).any():
        return None
    padded = (prompts.labels < 0).to(tokens.device)
    return F.pad(padded, (before, tokens.shape[1] - before - padded.shape[1]))


def read_out(
    decoder: torch.nn.Module, tokens_out: torch.Tensor, image_out: torch.Tensor, shape: torch.Size
) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn the transformer's tokens (B, T, C) and image (B, e*e, C) into mask logits and predicted IoU."""
    upscaled = decoder.output_upscaling(image_out.transpose(1, 2).reshape(shape))
    mask_tokens = tokens_out[:, 1 : 1 + decoder.num_mask_tokens]
    weights = torch.stack(
        [mlp(mask_tokens[:, i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)], dim=1
    )
    logits = (weights @ upscaled.flatten(2)).unflatten(2, upscaled.shape[-2:])
    return logits.float(), decoder.iou_prediction_head(tokens_out[:, 0]).float()


def embed_prompts(sam: torch.nn.Module, prompts: Prompts, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Sparse (B, T, C) and dense (B, C, e, e) prompt embeddings."""
    encoder = sam.prompt_encoder
    device = sam.pixel_mean.device
    points = None if prompts.points is None else (prompts.points.to(device).float(), prompts.labels.to(device))
    boxes = None if prompts.boxes is None else prompts.boxes.to(device).float()
    masks = None if prompts.mask_logits is None else prompts.mask_logits.to(device).float()
    sparse, dense = encoder(points=points, boxes=boxes, masks=masks)
    return sparse.expand(count, -1, -1), dense.expand(count, -1, -1, -1)


def upsample(logits: torch.Tensor, size: int) -> torch.Tensor:
    """Mask logits (B, M, m, m) -> (B, M, size, size), bilinear."""
    return F.interpolate(logits, (size, size), mode="bilinear", align_corners=False)
