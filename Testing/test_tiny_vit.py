"""The TinyViT encoder: the published checkpoint's keys and shapes, and the arithmetic against a plain reference."""

import pytest
import torch
from torch.nn import functional as F

from MedPerSAMLib.core import precision as precision_module
from MedPerSAMLib.core.sam.predictor import Predictor, Prompts
from MedPerSAMLib.core.sam.tiny_vit import (
    AttentionBlock,
    TinyViTShape,
    WindowAttention,
    build_mobile_sam,
    distance_index,
)

SMALL = TinyViTShape(
    image_size=64, widths=(16, 16, 24, 32), depths=(1, 1, 1, 1), heads=(0, 2, 3, 4), windows=(0, 7, 3, 7), embedding=32
)
PUBLISHED_BYTES = 40_728_226


def published_keys():
    """Every key of mobile_sam.pt's encoder, as listed in public by its users."""
    norm = ("bn.weight", "bn.bias", "bn.running_mean", "bn.running_var", "bn.num_batches_tracked")

    def convolution(name):
        return [f"{name}.c.weight", *(f"{name}.{key}" for key in norm)]

    keys = [*convolution("patch_embed.seq.0"), *convolution("patch_embed.seq.2")]
    for layer, depth in enumerate((2, 2, 6, 2)):
        for block in (f"layers.{layer}.blocks.{number}" for number in range(depth)):
            if layer == 0:
                keys += [key for number in (1, 2, 3) for key in convolution(f"{block}.conv{number}")]
                continue
            keys.append(f"{block}.attn.attention_biases")
            for part in ("attn.norm", "attn.qkv", "attn.proj", "mlp.norm", "mlp.fc1", "mlp.fc2"):
                keys += [f"{block}.{part}.weight", f"{block}.{part}.bias"]
            keys += convolution(f"{block}.local_conv")
        if layer < 3:
            keys += [key for number in (1, 2, 3) for key in convolution(f"layers.{layer}.downsample.conv{number}")]
    keys += ["norm_head.weight", "norm_head.bias", "head.weight", "head.bias"]
    return keys + [f"neck.{key}" for key in ("0.weight", "1.weight", "1.bias", "2.weight", "3.weight", "3.bias")]


@pytest.fixture(scope="module")
def mobile_sam():
    with torch.device("meta"):
        return build_mobile_sam()


@pytest.fixture(scope="module")
def small_sam():
    torch.manual_seed(0)
    sam = build_mobile_sam(SMALL)
    for module in sam.modules():  # untrained biases and statistics are zeros and ones, which hide mistakes
        if isinstance(module, WindowAttention):
            torch.nn.init.normal_(module.attention_biases)
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
    return sam.eval()


def test_keys_are_the_published_ones(mobile_sam):
    assert set(mobile_sam.image_encoder.state_dict()) == set(published_keys())


def test_tensors_fill_the_published_file(mobile_sam):
    """The file's size leaves room for the archive's headers, and for no further tensor."""
    held = sum(tensor.numel() * tensor.element_size() for tensor in mobile_sam.state_dict().values())
    entries = len(mobile_sam.state_dict())
    assert 0 < PUBLISHED_BYTES - held < 512 * entries


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("patch_embed.seq.0.c.weight", (32, 3, 3, 3)),
        ("patch_embed.seq.2.c.weight", (64, 32, 3, 3)),
        ("layers.0.blocks.0.conv2.c.weight", (256, 1, 3, 3)),
        ("layers.1.blocks.0.attn.attention_biases", (4, 49)),
        ("layers.2.blocks.5.attn.attention_biases", (5, 196)),
        ("layers.3.blocks.1.attn.attention_biases", (10, 49)),
        ("layers.2.blocks.0.attn.qkv.weight", (480, 160)),
        ("layers.3.blocks.0.mlp.fc1.weight", (1280, 320)),
        ("layers.2.downsample.conv2.c.weight", (320, 1, 3, 3)),
        ("head.weight", (1000, 320)),
        ("neck.0.weight", (256, 320, 1, 1)),
        ("neck.2.weight", (256, 256, 3, 3)),
    ],
)
def test_shapes_are_the_published_ones(mobile_sam, key, shape):
    assert mobile_sam.image_encoder.state_dict()[key].shape == shape


def test_the_last_downsampling_keeps_the_size():
    assert TinyViTShape().embedding_size == 64
    with torch.device("meta"):
        assert build_mobile_sam().image_encoder(torch.empty(1, 3, 1024, 1024)).shape == (1, 256, 64, 64)


@pytest.mark.parametrize("window", [3, 7, 14])
def test_biases_are_numbered_as_distances_first_occur(window):
    """The published numbering: all pairs in reading order, each new (|rows|, |columns|) gets the next number."""
    points = [(row, column) for row in range(window) for column in range(window)]
    numbers = {}
    expected = [
        [numbers.setdefault((abs(a[0] - b[0]), abs(a[1] - b[1])), len(numbers)) for b in points] for a in points
    ]
    assert distance_index(window).tolist() == expected


def plain_attention(attention, pixels, window):
    """(window^2, width) -> the same: one window, one head and one query at a time."""
    width = pixels.shape[1]
    size = width // attention.heads
    projected = F.linear(attention.norm(pixels), attention.qkv.weight, attention.qkv.bias)
    heads = []
    for head in range(attention.heads):
        query, key, value = projected[:, 3 * size * head : 3 * size * (head + 1)].split(size, dim=1)
        rows = []
        for i in range(window * window):
            scores = []
            for j in range(window * window):
                down, across = abs(i // window - j // window), abs(i % window - j % window)
                bias = attention.attention_biases[head, down * window + across]
                scores.append(query[i] @ key[j] / size**0.5 + bias)
            rows.append(torch.stack(scores).softmax(0) @ value)
        heads.append(torch.stack(rows))
    return attention.proj(torch.cat(heads, dim=1))


@torch.no_grad()
def test_block_equals_the_plain_computation():
    """Windows of 3 on 4 x 5 pixels: padded at the bottom and right with zeros that take part."""
    torch.manual_seed(1)
    block, window = AttentionBlock(width=6, heads=2, window=3).eval(), 3
    torch.nn.init.normal_(block.attn.attention_biases)
    torch.nn.init.normal_(block.attn.norm.bias)
    image = torch.randn(1, 6, 4, 5)
    padded = torch.zeros(6, 6, 6)
    padded[:, :4, :5] = image[0]
    attended = torch.zeros(6, 6, 6)
    for top in (0, 3):
        for left in (0, 3):
            pixels = padded[:, top : top + 3, left : left + 3].reshape(6, 9).T
            mixed = plain_attention(block.attn, pixels, window)
            attended[:, top : top + 3, left : left + 3] = mixed.T.reshape(6, 3, 3)
    expected = block.local_conv(image + attended[None, :, :4, :5])
    expected = expected + block.mlp(expected.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(block(image), expected, rtol=1e-5, atol=1e-5)


def test_runs_behind_the_predictor(small_sam, monkeypatch):
    monkeypatch.setattr(precision_module, "_gains_by_half", lambda device: False)
    predictor = Predictor(small_sam, batch=2)
    frames = torch.rand(3, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    embeddings = predictor.encode(frames)
    assert embeddings.shape == (3, 32, 4, 4) and embeddings.isfinite().all()
    torch.testing.assert_close(embeddings[2:], predictor.encode(frames[2:]), rtol=0, atol=1e-5)
    decoded = predictor.decode(embeddings, Prompts(boxes=torch.tensor([[4.0, 4, 40, 40]]).expand(3, -1)))
    assert decoded.logits.shape == (3, 1, 16, 16)


def test_state_dict_goes_round_strictly(small_sam):
    other = build_mobile_sam(SMALL)
    other.load_state_dict(small_sam.state_dict(), strict=True)
    frames = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(other.image_encoder(frames), small_sam.image_encoder(frames))
