"""MobileSAM: TinyViT-5M in front of SAM's own prompt encoder and mask decoder.

Written from the paper (Wu et al., TinyViT, ECCV 2022). Module names are those of the published MobileSAM checkpoint, so
that its keys load unchanged. The encoder has a convolutional stage and three stages of windowed attention; MobileSAM
leaves out the last halving, so that 1024 pixels become 64 x 64 embeddings as in SAM.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from MedPerSAMLib.core.sam.modeling import sam_modeling

PIXEL_MEAN = [123.675, 116.28, 103.53]
PIXEL_STD = [58.395, 57.12, 57.375]


@dataclass(frozen=True)
class TinyViTShape:
    """The sizes of a TinyViT encoder for SAM; the defaults are MobileSAM's.

    Attributes:
        image_size: frame pixels along each side.
        widths: channels of the four stages.
        depths: blocks of the four stages.
        heads: attention heads of the four stages; the first stage is convolutional and has none.
        windows: side of the attention window in the four stages, in embedding pixels.
        strides: halving after each of the first three stages (2 or 1).
        embedding: channels of the embedding that SAM's decoder takes.
        classes: outputs of the classification head, which the published checkpoint carries and SAM never uses.
    """

    image_size: int = 1024
    widths: tuple[int, int, int, int] = (64, 128, 160, 320)
    depths: tuple[int, int, int, int] = (2, 2, 6, 2)
    heads: tuple[int, int, int, int] = (0, 4, 5, 10)
    windows: tuple[int, int, int, int] = (0, 7, 14, 7)
    strides: tuple[int, int, int] = (2, 2, 1)
    embedding: int = 256
    classes: int = 1000

    @property
    def embedding_size(self) -> int:
        """Side of the embedding in pixels."""
        return self.image_size // (4 * int(np.prod(self.strides)))


class ConvolutionNorm(nn.Sequential):
    """A convolution without bias (``c``) and its batch normalisation (``bn``)."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.c = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs)


class PatchEmbedding(nn.Module):
    """Frames (B, 3, s, s) -> (B, width, s/4, s/4) by two strided convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(
            ConvolutionNorm(3, width // 2, 3, stride=2), nn.GELU(), ConvolutionNorm(width // 2, width, 3, stride=2)
        )

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return self.seq(frames)


class InvertedBottleneck(nn.Module):
    """Widen fourfold, convolve each channel alone, narrow, add: the block of the first stage."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = ConvolutionNorm(width, 4 * width)
        self.conv2 = ConvolutionNorm(4 * width, 4 * width, 3, groups=4 * width)
        self.conv3 = ConvolutionNorm(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.gelu(x + self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x))))))


class Downsampling(nn.Module):
    """(B, inputs, h, w) -> (B, outputs, h/stride, w/stride) between two stages."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvolutionNorm(inputs, outputs)
        self.conv2 = ConvolutionNorm(outputs, outputs, 3, stride=stride, groups=outputs)
        self.conv3 = ConvolutionNorm(outputs, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x)))))


class WindowAttention(nn.Module):
    """Attention among the pixels of one window; a learned bias per head for each distance (|rows|, |columns|)."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))
        # From numpy, so that the index exists even where the weights are still on the meta device.
        self.register_buffer("attention_bias_idxs", torch.from_numpy(distance_index(window)), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(windows, pixels, width) -> same shape."""
        count, pixels, width = x.shape
        # Queries, keys and values lie side by side within each head, not head by head within each of the three.
        projected = self.qkv(self.norm(x)).view(count, pixels, self.heads, 3, width // self.heads)
        queries, keys, values = projected.permute(3, 0, 2, 1, 4)
        bias = self.attention_biases[:, self.attention_bias_idxs].to(queries.dtype)
        mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=bias)
        return self.proj(mixed.transpose(1, 2).reshape(count, pixels, width))


def distance_index(window: int) -> np.ndarray:
    """(window^2, window^2) int64: which bias belongs to each pair of pixels.

    Seen from the first pixel, every (|rows|, |columns|) occurs once and in reading order, so a distance has the number
    |rows| * window + |columns|.
    """
    rows, columns = np.divmod(np.arange(window * window), window)
    return np.abs(rows[:, None] - rows) * window + np.abs(columns[:, None] - columns)


class FeedForward(nn.Module):
    """Two linear layers behind a normalisation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.gelu(self.fc1(self.norm(x))))


class AttentionBlock(nn.Module):
    """Window attention, a depthwise convolution that lets windows see each other, and a feed-forward network."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn = WindowAttention(width, heads, window)
        self.local_conv = ConvolutionNorm(width, width, 3, groups=width)
        self.mlp = FeedForward(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, width, h, w) -> same shape."""
        x = x + self._attend(x)
        x = self.local_conv(x).permute(0, 2, 3, 1)
        return (x + self.mlp(x)).permute(0, 3, 1, 2)

    def _attend(self, x: torch.Tensor) -> torch.Tensor:
        batch, width, rows, columns = x.shape
        side = self.window
        # Windows at the bottom and right are filled with zeros, which take part in the attention: so was it trained.
        x = F.pad(x, (0, -columns % side, 0, -rows % side))
        down, across = x.shape[2] // side, x.shape[3] // side
        windows = x.view(batch, width, down, side, across, side).permute(0, 2, 4, 3, 5, 1)
        mixed = self.attn(windows.reshape(-1, side * side, width))
        mixed = mixed.view(batch, down, across, side, side, width).permute(0, 5, 1, 3, 2, 4)
        return mixed.reshape(batch, width, down * side, across * side)[:, :, :rows, :columns]


class Stage(nn.Module):
    """Blocks, and the downsampling to the next stage's width where there is one."""

    def __init__(self, blocks: list[nn.Module], downsample: Downsampling | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else self.downsample(x)


class TinyViT(nn.Module):
    """SAM's image encoder as a TinyViT: frames (B, 3, s, s), normalised -> embeddings (B, C, e, e).

    Args:
        shape: the sizes.
    """

    def __init__(self, shape: TinyViTShape | None = None) -> None:
        super().__init__()
        shape = TinyViTShape() if shape is None else shape
        self.img_size = shape.image_size
        self.patch_embed = PatchEmbedding(shape.widths[0])
        self.layers = nn.ModuleList(_stage(shape, number) for number in range(4))
        # The classifier that TinyViT was trained with; kept only because the published checkpoint holds its weights.
        self.norm_head = nn.LayerNorm(shape.widths[-1])
        self.head = nn.Linear(shape.widths[-1], shape.classes)
        norm = sam_modeling().image_encoder.LayerNorm2d
        self.neck = nn.Sequential(
            nn.Conv2d(shape.widths[-1], shape.embedding, 1, bias=False),
            norm(shape.embedding),
            nn.Conv2d(shape.embedding, shape.embedding, 3, padding=1, bias=False),
            norm(shape.embedding),
        )

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        # Channels last halves the time on a CPU: attention and feed-forward then need no reordering.
        x = self.patch_embed(frames.contiguous(memory_format=torch.channels_last))
        for layer in self.layers:
            x = layer(x)
        return self.neck(x).contiguous()


def _stage(shape: TinyViTShape, number: int) -> Stage:
    width, depth = shape.widths[number], shape.depths[number]
    if number == 0:
        blocks = [InvertedBottleneck(width) for _ in range(depth)]
    else:
        blocks = [AttentionBlock(width, shape.heads[number], shape.windows[number]) for _ in range(depth)]
    last = number == len(shape.widths) - 1
    return Stage(blocks, None if last else Downsampling(width, shape.widths[number + 1], shape.strides[number]))


def build_mobile_sam(shape: TinyViTShape | None = None) -> nn.Module:
    """A ``segment_anything.modeling.Sam`` with a TinyViT encoder; weights are random until a checkpoint is loaded.

    Args:
        shape: the encoder's sizes; MobileSAM's unless given.
    """
    shape = TinyViTShape() if shape is None else shape
    modeling = sam_modeling()
    side = shape.embedding_size
    return modeling.Sam(
        image_encoder=TinyViT(shape),
        prompt_encoder=modeling.PromptEncoder(
            embed_dim=shape.embedding,
            image_embedding_size=(side, side),
            input_image_size=(shape.image_size, shape.image_size),
            mask_in_chans=16,
        ),
        mask_decoder=modeling.MaskDecoder(
            num_multimask_outputs=3,
            transformer=modeling.TwoWayTransformer(
                depth=2, embedding_dim=shape.embedding, mlp_dim=8 * shape.embedding, num_heads=8
            ),
            transformer_dim=shape.embedding,
            iou_head_depth=3,
            iou_head_hidden_dim=shape.embedding,
        ),
        pixel_mean=PIXEL_MEAN,
        pixel_std=PIXEL_STD,
    ).eval()
