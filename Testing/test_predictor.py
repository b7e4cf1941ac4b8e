"""The batched predictor gives what segment-anything gives one item at a time."""

import pytest
import torch

from MedPerSAMLib.core import precision as precision_module
from MedPerSAMLib.core.sam.modeling import sam_modeling
from MedPerSAMLib.core.sam.predictor import Predictor, Prompts, _padding, decode, upsample

SIDE = 64  # frame pixels
BATCH = 3


class SmallEncoder(torch.nn.Module):
    """One strided convolution: frames (B, 3, 64, 64) -> (B, 32, 8, 8); counts how often it is called."""

    img_size = SIDE

    def __init__(self):
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 32, 8, 8)
        self.batches = []

    def forward(self, frames):
        self.batches.append(len(frames))
        return self.convolution(frames)


@pytest.fixture(scope="module")
def sam():
    torch.manual_seed(0)
    modeling = sam_modeling()
    transformer = modeling.TwoWayTransformer(depth=2, embedding_dim=32, mlp_dim=64, num_heads=4)
    return modeling.Sam(
        SmallEncoder(),
        modeling.PromptEncoder(
            embed_dim=32, image_embedding_size=(8, 8), input_image_size=(SIDE, SIDE), mask_in_chans=16
        ),
        modeling.MaskDecoder(transformer_dim=32, transformer=transformer, iou_head_hidden_dim=32),
    ).eval()


@pytest.fixture
def predictor(sam, monkeypatch):
    # Half precision is for speed; here the arithmetic is compared.
    monkeypatch.setattr(precision_module, "_gains_by_half", lambda device: False)
    return Predictor(sam, batch=2)


@pytest.fixture
def embeddings():
    return torch.randn(BATCH, 32, 8, 8, generator=torch.Generator().manual_seed(1))


def prompts_of(points=False, boxes=False, masks=False, padding=False):
    random = torch.Generator().manual_seed(2)
    corners = torch.rand(BATCH, 4, generator=random) * SIDE
    labels = torch.tensor([[1, 0, 1], [0, 1, 1], [1, 1, 0]])
    if padding:
        labels[1, 2] = labels[2, 1] = labels[2, 2] = -1
    return Prompts(
        points=torch.rand(BATCH, 3, 2, generator=random) * SIDE if points else None,
        labels=labels if points else None,
        boxes=corners if boxes else None,
        mask_logits=torch.randn(BATCH, 1, 32, 32, generator=random) * 10 if masks else None,
    )


def released(sam, embedding, prompts, multimask):
    """segment-anything's own way, for a batch of one, which needs no padding."""
    real = None if prompts.labels is None else prompts.labels[0] >= 0
    points = None if real is None else (prompts.points[:, real], prompts.labels[:, real])
    sparse, dense = sam.prompt_encoder(points=points, boxes=prompts.boxes, masks=prompts.mask_logits)
    return sam.mask_decoder(
        image_embeddings=embedding,
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=multimask,
    )


MIXES = [
    {"points": points, "boxes": boxes, "masks": masks, "padding": padding}
    for points in (False, True)
    for boxes in (False, True)
    for masks in (False, True)
    for padding in ((False, True) if points else (False,))
]


@pytest.mark.parametrize("multimask", [False, True])
@pytest.mark.parametrize("mix", MIXES, ids=lambda mix: "+".join(k for k, given in mix.items() if given) or "none")
def test_decode_equals_segment_anything(predictor, sam, embeddings, mix, multimask):
    prompts = prompts_of(**mix)
    decoded = predictor.decode(embeddings, prompts, multimask)
    assert decoded.logits.shape == (BATCH, 3 if multimask else 1, predictor.mask_size, predictor.mask_size)
    for i in range(BATCH):
        with torch.no_grad():
            logits, iou = released(sam, embeddings[i : i + 1], prompts[i : i + 1], multimask)
        torch.testing.assert_close(decoded.logits[i : i + 1], logits, rtol=0, atol=1e-5)
        torch.testing.assert_close(decoded.predicted_iou[i : i + 1], iou.clamp(0, 1), rtol=0, atol=1e-5)


def test_padding_is_where_the_tokens_are():
    # "meta" stands for a GPU, to which prompts come from the CPU; SAM's own prompt encoder does not run there.
    tokens = torch.zeros(BATCH, 5 + 3 + 2, 32, device="meta")
    padding = _padding(prompts_of(points=True, boxes=True, padding=True), 5, tokens)
    assert padding.device.type == "meta" and padding.shape == tokens.shape[:2]
    assert _padding(prompts_of(points=True), 5, tokens) is None and _padding(prompts_of(boxes=True), 5, tokens) is None


def test_one_set_of_prompts_for_every_embedding(predictor, embeddings):
    alone = prompts_of(points=True, boxes=True, masks=True)[:1]
    repeated = Prompts(*(v.expand(BATCH, *v.shape[1:]) for v in vars(alone).values()))
    torch.testing.assert_close(
        predictor.decode(embeddings, alone).logits, predictor.decode(embeddings, repeated).logits, rtol=0, atol=1e-6
    )


def test_encode_works_in_batches_and_keeps_the_order(predictor, sam):
    frames = torch.rand(5, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    sam.image_encoder.batches.clear()
    together = predictor.encode(frames)
    assert sam.image_encoder.batches == [2, 2, 1]
    assert together.shape == (5, 32, predictor.embedding_size, predictor.embedding_size)
    for i in range(5):
        torch.testing.assert_close(together[i : i + 1], predictor.encode(frames[i : i + 1]), rtol=0, atol=1e-5)


def test_frames_are_normalised_as_segment_anything_does(predictor, sam):
    grey = torch.rand(2, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(4))
    colour = grey.expand(-1, 3, -1, -1)
    expected = torch.stack([sam.preprocess(image * 255) for image in colour])
    torch.testing.assert_close(predictor.normalise(grey), expected)
    torch.testing.assert_close(predictor.normalise(colour), expected)


def test_half_precision_stays_close(sam, monkeypatch):
    frames = torch.rand(2, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(5))
    monkeypatch.setattr(precision_module, "_gains_by_half", lambda device: False)
    full = Predictor(sam).encode(frames)
    monkeypatch.setattr(precision_module, "_gains_by_half", lambda device: True)
    half = Predictor(sam).encode(frames)
    assert half.dtype == torch.float32
    assert (half - full).abs().mean() < 0.02 * full.abs().mean()


def test_the_model_is_frozen(predictor, sam):
    assert not any(parameter.requires_grad for parameter in sam.parameters())
    assert not any(module.training for module in sam.modules())


def test_embeddings_and_masks_can_take_part_in_training(predictor, embeddings):
    """Tensors made in inference mode could be neither inputs of a trained head nor targets of its loss."""
    embedded = predictor.encode(torch.rand(1, 1, SIDE, SIDE))
    head = torch.nn.Conv2d(32, 1, 1)
    target = (predictor.decode(embedded, prompts_of(boxes=True)[:1]).logits[..., ::4, ::4] > 0).float()
    scored = predictor.decode(embedded, prompts_of(boxes=True)[:1]).predicted_iou
    loss = torch.nn.functional.binary_cross_entropy_with_logits(head(embedded), target) * scored.mean()
    (loss + (head(embedded) * upsample(target, 8)).mean()).backward()
    assert head.weight.grad.abs().sum() > 0


def test_decode_is_differentiable_in_prompts_and_embeddings(predictor, sam, embeddings):
    points = (torch.rand(BATCH, 3, 2) * SIDE).requires_grad_()
    embeddings = embeddings.requires_grad_()
    logits, iou = decode(sam, embeddings, Prompts(points=points, labels=torch.ones(BATCH, 3, dtype=torch.long)))
    assert logits.shape == (BATCH, 4, predictor.mask_size, predictor.mask_size) and iou.shape == (BATCH, 4)
    logits.sum().backward()
    assert points.grad.abs().sum() > 0 and embeddings.grad.abs().sum() > 0


def test_upsample():
    assert upsample(torch.zeros(2, 3, 8, 8), 20).shape == (2, 3, 20, 20)
