"""The embedded model and the warping network: shapes, shipped weights, and that they beat chance on generated images."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open

from MedPerSAMLib.core import precision as precision_module
from MedPerSAMLib.core.sam.levels import encode_levels
from MedPerSAMLib.core.sam.predictor import Predictor, Prompts
from MedPerSAMLib.core.sam.tiny import TinyConfig, build_tiny, load_tiny, tiny_config, tiny_metadata
from MedPerSAMLib.core.warp.network import WarpNetwork, compose, integrate, load_warp, warp
from MedPerSAMLib.weights import weights_path
from Testing.training.fields import Random
from Testing.training.grow import grow_tiny
from Testing.training.looks import render
from Testing.training.prompt_tokens import embed_points_without_waiting
from Testing.training.prompts import draw_boxes
from Testing.training.samples import draw_images, draw_targets
from Testing.training.source import Source
from Testing.training.weights import save_half


@pytest.fixture(scope="module")
def tiny():
    return load_tiny(weights_path("tiny"))


def test_the_untrained_model_has_sams_interface():
    sam = build_tiny(TinyConfig())
    assert sum(p.numel() for p in sam.image_encoder.parameters()) <= 6_000_000
    predictor = Predictor(sam)
    assert (predictor.frame_size, predictor.embedding_size, predictor.mask_size) == (256, 32, 128)
    embeddings = predictor.encode(torch.rand(2, 1, 256, 256))
    assert embeddings.shape == (2, 128, 32, 32)
    prompts = Prompts(
        points=torch.rand(2, 3, 2) * 256, labels=torch.tensor([[1, 0, -1], [1, 1, 0]]),
        boxes=torch.tensor([[20.0, 20, 90, 90]] * 2), mask_logits=torch.randn(2, 1, 128, 128),
    )  # fmt: skip
    decoded = predictor.decode(embeddings, prompts, multimask=True)
    assert decoded.logits.shape == (2, 3, 128, 128) and decoded.predicted_iou.shape == (2, 3)
    levels = sam.image_encoder.levels(torch.rand(1, 3, 256, 256))
    assert [tuple(level.shape[1:]) for level in levels] == [(64, 64, 64), (128, 32, 32), (192, 16, 16), (128, 32, 32)]


def test_the_configuration_survives_the_metadata():
    config = TinyConfig(depths=(1, 1, 1), version=3)
    assert tiny_config(tiny_metadata(config)) == config


@pytest.mark.parametrize("name", ["tiny", "warp"])
def test_shipped_weights_are_small_half_precision_and_described(name):
    path = weights_path(name)
    assert path.stat().st_size <= 15_000_000
    with safe_open(str(path), framework="pt") as file:
        assert json.loads(file.metadata()["config"])
        assert {file.get_tensor(key).dtype for key in file.keys()} == {torch.float16}  # noqa: SIM118


def test_missing_weights_are_named():
    with pytest.raises(FileNotFoundError, match="'huge'.*tiny"):
        weights_path("huge")


def test_shipped_model_finds_boxed_structures_in_generated_images(tiny):
    random = Random(11)
    images = draw_images(random, load_warp(weights_path("warp")), 4, 2)
    truth = draw_targets(random, images).mask
    predictor = Predictor(tiny)
    boxes = draw_boxes(random, truth, grown=False)
    decoded = predictor.decode(predictor.encode(images.frames), Prompts(boxes=boxes))
    masks, truth = decoded.logits[:, 0] > 0, truth[:, 0] > 0.5
    score = 2 * (masks & truth).sum((1, 2)) / (masks.sum((1, 2)) + truth.sum((1, 2))).clamp(min=1)
    box = torch.zeros_like(truth)
    for row, (x0, y0, x1, y1) in enumerate((boxes / 2).round().int().tolist()):
        box[row, y0:y1, x0:x1] = True
    filled = 2 * (box & truth).sum((1, 2)) / (box.sum((1, 2)) + truth.sum((1, 2))).clamp(min=1)
    present = truth.sum((1, 2)) > 0
    assert score[present].mean() > filled[present].mean() + 0.03


def test_fields_are_smooth_and_compose():
    velocity = Random(2).smooth((1, 2), 64, 3) * 0.05
    field = integrate(velocity)
    back = integrate(-velocity)
    assert compose(field, back)[..., 8:-8, 8:-8].abs().max() < 0.02
    shift = torch.zeros(1, 2, 32, 32)
    shift[:, 0] = 2 * 3 / 32
    image = torch.rand(1, 1, 32, 32)
    assert warp(image, shift)[..., :-3].allclose(image[..., 3:], atol=1e-5)


def test_the_untrained_network_already_pulls_the_right_way():
    axis = torch.linspace(-1, 1, 128)
    disc = lambda x: torch.sigmoid(40 * (0.4 - ((axis[None] - x) ** 2 + axis[:, None] ** 2).sqrt()))[None, None]
    moving, fixed = disc(0.0), disc(0.08)
    field, _ = WarpNetwork().fields(moving, fixed, passes=10)
    assert (warp(moving, field) - fixed).abs().mean() < 0.6 * (moving - fixed).abs().mean()


def test_shipped_warp_beats_copying_on_generated_slices():
    random = Random(21)
    images = draw_images(random, load_warp(weights_path("warp")), 6, 1)
    targets = draw_targets(random, images)
    truth, neighbour = targets.mask, targets.known
    carried = warp(neighbour, images.field)
    error = lambda mask: ((mask > 0.5) != (truth > 0.5)).float().mean()
    assert error(carried) < error(neighbour)


def test_every_preset_can_be_encoded(tiny):
    from Testing.training.shapes import draw_scene

    random = Random(1)
    frames = render(random, draw_scene(random, 1), "mr", 64)[:, 0]
    assert torch.isfinite(Predictor(tiny).encode(frames)).all()


def test_a_deeper_model_starts_as_the_shallower_one(tmp_path):
    torch.manual_seed(0)
    shallow, path = TinyConfig(depths=(1, 1, 1), attention=1), tmp_path / "shallow.safetensors"
    save_half(build_tiny(shallow).half().float().state_dict(), path, tiny_metadata(shallow))
    before, after = load_tiny(path), grow_tiny(path, TinyConfig(depths=(1, 2, 2), attention=2)).eval()
    frame = torch.rand(1, 3, 256, 256)
    with torch.inference_mode():
        assert torch.allclose(before.image_encoder(frame), after.image_encoder(frame), atol=1e-5)
    with pytest.raises(ValueError, match="does not fit"):
        grow_tiny(path, TinyConfig(width=64))


def test_training_embeds_points_as_segment_anything_does(tiny):
    patched = build_tiny(tiny_config_of("tiny"))
    patched.load_state_dict(tiny.state_dict())
    embed_points_without_waiting(patched)
    points, labels = torch.rand(2, 4, 2) * 256, torch.tensor([[1, 0, -1, 1], [0, -1, -1, 1]])
    boxes = torch.tensor([[20.0, 20, 90, 90]] * 2)
    for given in (None, boxes):
        expected, _ = tiny.prompt_encoder(points=(points, labels), boxes=given, masks=None)
        found, _ = patched.prompt_encoder(points=(points, labels), boxes=given, masks=None)
        assert torch.allclose(found, expected, atol=1e-6)


def tiny_config_of(name: str) -> TinyConfig:
    with safe_open(str(weights_path(name)), framework="pt") as file:
        return tiny_config(file.metadata())


def test_groups_of_images_depend_on_seed_and_number_only():
    warper = load_warp(weights_path("warp")).requires_grad_(False)
    both = Source(3, 0, 1, warper, 1, "cpu")
    both.next()
    second = both.next()
    alone = Source(3, 1, 2, warper, 1, "cpu").next()
    assert torch.equal(second.frames, alone.frames) and torch.equal(second.labels, alone.labels)


def test_the_embedded_encoder_is_never_rounded(monkeypatch):
    predictor = Predictor(load_tiny(weights_path("tiny")))
    frames = torch.rand(2, 1, 256, 256, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(precision_module, "_gains_by_half", lambda device: False)
    full = predictor.encode(frames), *encode_levels(predictor, frames)
    monkeypatch.setattr(precision_module, "_gains_by_half", lambda device: True)
    again = predictor.encode(frames), *encode_levels(predictor, frames)
    assert all(torch.equal(a, b) for a, b in zip(full, again))
