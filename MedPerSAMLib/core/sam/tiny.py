"""The embedded model: a SAM small enough to ship, with an encoder trained by us on generated images only.

Frame 256 px, embeddings 32 x 32 of width 128, mask prompts and masks 128 x 128. Prompt encoder and mask decoder are
SAM's own classes; their two convolution stacks are given some spatial reach, because a 32 x 32 embedding of a small
encoder cannot know beforehand which side of an edge a mask prompt will be on.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from MedPerSAMLib.core.sam.modeling import sam_modeling


@dataclass(frozen=True)
class TinyConfig:
    """Shape of the embedded model; stored with its weights.

    Attributes:
        frame_size: side of the square frame in pixels; embeddings have stride 8.
        widths: channels at strides 2, 4, 8 and 16.
        depths: residual blocks at strides 4, 8 and 16.
        attention: attention blocks at stride 16, after the residual ones.
        heads: attention heads at stride 16.
        fusion: residual blocks at stride 8, after the levels are joined.
        width: channels of the embedding and the decoder.
        mlp: hidden width of the decoder's transformer.
        version: version of the weights; 0 for untrained ones.
    """

    frame_size: int = 256
    widths: tuple[int, int, int, int] = (32, 64, 128, 192)
    depths: tuple[int, int, int] = (1, 3, 3)
    attention: int = 4
    heads: int = 6
    fusion: int = 2
    width: int = 128
    mlp: int = 512
    version: int = 0


class TinyEncoder(nn.Module):
    """Convolution pyramid to stride 16 with attention on top, joined again at stride 8.

    Detail of stride 4 is folded into the embedding (space-to-depth and a linear map, as one convolution), so that masks
    get sharp boundaries. Group normalisation: the statistics are each image's own, whatever made the image.
    """

    full_precision = True
    """Its features are compared by small differences, which rounding to half precision blurs; it is fast enough without."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        two, four, eight, sixteen = config.widths
        self.img_size = config.frame_size
        self.stem = nn.Sequential(_convolve(3, two, 2), _convolve(two, four, 2))
        self.four = nn.Sequential(*(Residual(four) for _ in range(config.depths[0])))
        self.eight = nn.Sequential(_convolve(four, eight, 2), *(Residual(eight) for _ in range(config.depths[1])))
        self.sixteen = nn.Sequential(
            _convolve(eight, sixteen, 2), *(Residual(sixteen) for _ in range(config.depths[2]))
        )
        tokens = (config.frame_size // 16) ** 2
        self.position = nn.Parameter(torch.zeros(1, tokens, sixteen))
        self.attention = nn.Sequential(*(Attention(sixteen, config.heads) for _ in range(config.attention)))
        self.from_four = nn.Conv2d(four, config.width, 2, 2)
        self.from_eight = nn.Conv2d(eight, config.width, 1)
        self.from_sixteen = nn.Conv2d(sixteen, config.width, 1)
        self.join = nn.Sequential(*(Residual(config.width) for _ in range(config.fusion)))
        self.out = nn.Conv2d(config.width, config.width, 1)
        nn.init.trunc_normal_(self.position, std=0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalised frames (B, 3, s, s) -> embeddings (B, width, s/8, s/8)."""
        return self.levels(x)[-1]

    def levels(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Features at strides 4, 8 and 16, and the embedding at stride 8."""
        x = x.contiguous(memory_format=torch.channels_last)
        four = self.four(self.stem(x))
        eight = self.eight(four)
        sixteen = self.sixteen(eight)
        tokens = self.attention(sixteen.flatten(2).transpose(1, 2) + self._position(sixteen.shape[-1]))
        sixteen = tokens.transpose(1, 2).reshape(sixteen.shape)
        top = F.interpolate(self.from_sixteen(sixteen), scale_factor=2.0, mode="bilinear", align_corners=False)
        joined = top + self.from_eight(eight) + self.from_four(four)
        return [four, eight, sixteen, self.out(self.join(joined))]

    def _position(self, side: int) -> torch.Tensor:
        """Position code of side x side tokens; interpolated for frames of another size (training starts with small ones)."""
        own = round(self.position.shape[1] ** 0.5)
        if side == own:
            return self.position
        grid = self.position.transpose(1, 2).unflatten(2, (own, own))
        grid = F.interpolate(grid, (side, side), mode="bilinear", align_corners=False)
        return grid.flatten(2).transpose(1, 2)


class Residual(nn.Module):
    """Two normalised 3 x 3 convolutions around a shortcut; (B, C, h, w) -> the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _convolve(channels, channels)
        self.second = _convolve(channels, channels, active=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(x + self.second(self.first(x)))


class Attention(nn.Module):
    """Pre-normalised self-attention and MLP; (B, tokens, C) -> the same."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(channels)
        self.query_key_value = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        self.mlp = nn.Sequential(
            nn.LayerNorm(channels), nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = self.query_key_value(self.norm(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = parts
        seen = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        x = x + self.out(seen)
        return x + self.mlp(x)


def build_tiny(config: TinyConfig = TinyConfig()) -> nn.Module:
    """An untrained embedded model: a ``segment_anything.modeling.Sam``."""
    modeling = sam_modeling()
    side = config.frame_size // 8
    prompt_encoder = modeling.PromptEncoder(
        embed_dim=config.width,
        image_embedding_size=(side, side),
        input_image_size=(config.frame_size, config.frame_size),
        mask_in_chans=16,
    )
    prompt_encoder.mask_downscaling = _mask_stack(config.width)
    transformer = modeling.TwoWayTransformer(depth=2, embedding_dim=config.width, num_heads=8, mlp_dim=config.mlp)
    mask_decoder = modeling.MaskDecoder(
        transformer_dim=config.width, transformer=transformer, num_multimask_outputs=3, iou_head_hidden_dim=config.width
    )
    mask_decoder.output_upscaling = _upscaling_stack(config.width)
    return modeling.Sam(
        image_encoder=TinyEncoder(config),
        prompt_encoder=prompt_encoder,
        mask_decoder=mask_decoder,
        pixel_mean=[100.0, 100.0, 100.0],
        pixel_std=[64.0, 64.0, 64.0],
    )


def load_tiny(path: str | Path) -> nn.Module:
    """The embedded model from a safetensors file with its configuration in the metadata; strict, in eval mode."""
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as file:
        config = tiny_config(file.metadata())
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - a safetensors file is no dict
    sam = build_tiny(config)
    sam.load_state_dict(state, strict=True)
    # The layout that convolutions work in: without it each call reorders the weights.
    return sam.to(memory_format=torch.channels_last).eval()


def tiny_config(metadata: dict[str, str]) -> TinyConfig:
    """The configuration held in the metadata of a weights file."""
    values = json.loads(metadata["config"])
    return TinyConfig(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})


def tiny_metadata(config: TinyConfig) -> dict[str, str]:
    """Metadata from which :func:`load_tiny` rebuilds the model."""
    return {"config": json.dumps(asdict(config))}


def _convolve(channels_in: int, channels_out: int, stride: int = 1, active: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False),
        nn.GroupNorm(8, channels_out),
    ]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if active else nn.Sequential(*layers)


def _mask_stack(width: int) -> nn.Sequential:
    """Mask logits (B, 1, 128, 128) -> dense prompt embedding (B, width, 32, 32)."""
    return nn.Sequential(
        nn.Conv2d(1, 64, 4, 4),
        nn.GroupNorm(1, 64),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, 1, 1),
        nn.ReLU(),
        nn.Conv2d(64, width, 3, 1, 1),
    )


def _upscaling_stack(width: int) -> nn.Sequential:
    """Prompted embedding (B, width, 32, 32) -> mask features (B, width / 8, 128, 128)."""
    return nn.Sequential(
        nn.Conv2d(width, width, 3, 1, 1),
        nn.GroupNorm(8, width),
        nn.ReLU(),
        nn.ConvTranspose2d(width, width // 2, 2, 2),
        nn.ReLU(inplace=True),
        nn.Conv2d(width // 2, width // 4, 3, 1, 1),
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(width // 4, width // 8, 2, 2),
    )
