"""The learning core: what the parts look at, that SAM stays frozen, and that a fit learns and repeats."""

import dataclasses

import numpy as np
import pytest
import torch

from MedPerSAMLib.core.enlarged import convolve_enlarged
from MedPerSAMLib.core.learn.apply import SlicePoints, apply
from MedPerSAMLib.core.learn.average import AverageWeights
from MedPerSAMLib.core.learn.fit import LOCATOR, fit
from MedPerSAMLib.core.learn.inputs import Inputs, look
from MedPerSAMLib.core.learn.labelled import LabelledVolume
from MedPerSAMLib.core.learn.learners import LEARNERS, learner
from MedPerSAMLib.core.learn.losses import class_weights, segmentation_loss
from MedPerSAMLib.core.learn.parts import build, describe
from MedPerSAMLib.core.learn.point_makers import (
    POINTS,
    PointForms,
    PointQueries,
    PointTrunk,
    first_heat,
    places_of,
    rough_mask,
)
from MedPerSAMLib.core.learn.settings import settings_of
from MedPerSAMLib.core.learn.training import Examples, Training
from MedPerSAMLib.core.learn.view import View
from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.core.sam.levels import encode_levels, level_widths
from MedPerSAMLib.core.sam.modeling import sam_modeling
from MedPerSAMLib.core.sam.predictor import Predictor
from MedPerSAMLib.core.sam.tiny import load_tiny
from MedPerSAMLib.core.sam.tiny_vit import TinyViTShape, build_mobile_sam
from MedPerSAMLib.core.task import Volume
from MedPerSAMLib.errors import Cancelled, InputError
from MedPerSAMLib.weights import weights_path

SHORT = {"steps": 2, "examples": 4, "located": 2, "checks": 1, "batch": 2}


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(load_tiny(weights_path("tiny")))


def ball_case(row: int = 70, column: int = 60, seed: int = 0) -> LabelledVolume:
    """A grey ball with a bright core in noise, in a slice that is much larger; the ends are empty."""
    z, y, x = np.mgrid[:8, :128, :128]
    distance = np.sqrt((3 * (z - 3.5)) ** 2 + (y - row) ** 2 + (x - column) ** 2)
    labels = (distance < 18).astype(np.uint8) + (distance < 9)
    grey = np.choose(labels, [20.0, 60.0, 100.0]) + np.random.default_rng(seed).normal(0, 3, labels.shape)
    labels[[0, -1]] = 0
    grey[[0, -1]] = np.random.default_rng(seed + 1).normal(20, 3, grey[[0, -1]].shape)
    return LabelledVolume(Volume(grey.astype(np.float32)), labels, f"ball {seed}")


def short_fit(method: str, predictor: Predictor, **changes):
    settings = dataclasses.replace(settings_of(method), **{**SHORT, **changes})
    model = predictor if learner(method).needs_model else None
    return fit(method, model, [ball_case()], [], 2, 3, Progress(), settings=settings)


@pytest.mark.parametrize("method", LEARNERS)
def test_sam_stays_frozen_and_a_fit_repeats(method, predictor):
    before = {key: value.clone() for key, value in predictor.sam.state_dict().items()}
    first, again = short_fit(method, predictor), short_fit(method, predictor)
    assert all(torch.equal(before[key], value) for key, value in predictor.sam.state_dict().items())
    assert all(not parameter.requires_grad for parameter in predictor.sam.parameters())
    assert first.curve == again.curve
    assert all(torch.equal(value, again.weights[key]) for key, value in first.weights.items())
    assert any(key.startswith(LOCATOR) for key in first.weights)
    model = predictor if learner(method).needs_model else None
    applied = apply(first, model, ball_case(60, 70, 5).volume, Progress())
    assert sorted(applied.results) == [1, 2]
    for result in applied.results.values():
        assert result.mask.shape == (8, 128, 128)
        assert result.confidence.min() >= 0 and result.confidence.max() <= 1
        assert (result.present == result.mask.any(axis=(1, 2))).all()


def test_a_fit_finds_the_structure_in_another_place(predictor):
    fitted = short_fit("autosam-cnn", predictor, steps=60, examples=32, located=60, batch=4)
    other = ball_case(50, 85, 9)
    applied = apply(fitted, predictor, other.volume, Progress())
    for number, result in applied.results.items():
        truth = other.labels == number
        dice = 2 * (result.mask & truth).sum() / (result.mask.sum() + truth.sum())
        assert dice > 0.6, (number, dice)


@pytest.mark.parametrize("method", ["promise", "promise-apm", "promise-queries"])
def test_gradients_reach_the_points_through_the_frozen_decoder(method, predictor):
    part = build(method, predictor, 1, describe(predictor), seed=0)
    inputs = look("levels", predictor, torch.rand(2, 1, 256, 256, generator=torch.Generator().manual_seed(0)))
    labels = torch.zeros(2, 128, 128, dtype=torch.long)
    labels[:, 40:80, 40:80] = 1
    part.loss(inputs, labels, torch.Generator().manual_seed(0)).backward()
    last = [layer for name, layer in part.points.named_modules() if name.split(".")[-1] == "out"]
    assert len(last) == (2 if method == "promise" else 1)
    assert all(layer.weight.grad.abs().max() > 0 for layer in last)
    assert all(parameter.grad is None for parameter in predictor.sam.parameters())


def test_a_point_lies_at_the_mean_of_its_heat_map():
    heat = torch.full((2, 8, 8), -50.0)
    heat[0, 2, 5] = 0
    heat[1, 2, 4:6] = 0
    assert np.allclose(places_of(heat), [[5.5 / 8, 2.5 / 8], [5 / 8, 2.5 / 8]])


def test_the_rough_mask_is_bounded_and_starts_in_the_middle():
    rough = rough_mask(first_heat(torch.zeros(1, 1, 32, 32)))
    assert rough.abs().max() <= 10
    assert rough[16, 16] > 2
    assert rough[0, 0] < -5


@pytest.mark.parametrize("maker", [PointTrunk, PointQueries, PointForms])
def test_points_start_spread_out_around_the_middle(maker):
    places = places_of(maker([8, 8, 8], 64, 2).eval()(torch.zeros(1, 24, 32, 32)))
    distance = (places - 0.5).norm(dim=-1)
    assert places.shape == (1, 2, POINTS, 2)
    assert distance[..., : POINTS // 2].max() < 0.15
    assert distance[..., POINTS // 2 :].min() > 0.25


def test_moved_points_ask_again_on_their_slice_only(predictor):
    fitted = short_fit("promise-apm", predictor)
    # It believes that nothing is there, on any slice: whoever places a point knows better.
    weights = {**fitted.weights, "presence.bias": fitted.weights["presence.bias"] - 50}
    fitted = dataclasses.replace(fitted, settings={**fitted.settings, "one_piece": [False, False]}, weights=weights)
    volume = ball_case().volume
    plain = apply(fitted, predictor, volume, Progress())
    points = SlicePoints(np.array([[70.0, 60.0], [70.0, 100.0]]), np.array([1, 0]))
    moved = apply(fitted, predictor, volume, Progress(), moved={(1, 4): points})
    differs = [(plain.results[1].mask[i] != moved.results[1].mask[i]).any() for i in range(8)]
    assert differs[4] and not plain.results[1].present.any()
    assert not any(differs[:4] + differs[5:])


def test_moved_points_need_only_their_slices_where_the_volume_was_seen_before(predictor, monkeypatch):
    fitted, volume = short_fit("promise-apm", predictor), ball_case().volume
    seen = apply(fitted, predictor, volume, Progress()).looked
    assert len(seen.probabilities) == len(seen.places) == 8
    moved = {(1, 4): SlicePoints(np.array([[70.0, 60.0], [70.0, 100.0]]), np.array([1, 0]))}
    afresh = apply(fitted, predictor, volume, Progress(), moved=moved)
    monkeypatch.setattr("MedPerSAMLib.core.learn.apply.at_several_sizes", None)
    monkeypatch.setattr("MedPerSAMLib.core.learn.apply.build_locator", None)
    again = apply(fitted, predictor, volume, Progress(), moved=moved, looked=seen)
    for number in (1, 2):
        assert np.array_equal(afresh.results[number].mask, again.results[number].mask)
        assert np.array_equal(afresh.results[number].confidence, again.results[number].confidence)
    assert afresh.points.keys() == again.points.keys()
    assert all(np.array_equal(afresh.points[key].places, again.points[key].places) for key in again.points)


def test_a_cancel_is_heard_between_two_looks(predictor):
    fitted, asked = short_fit("autosam-linear", predictor), []

    class CancelledWhileLooking(Progress):
        def on_step(self, phase: str, done: int, total: int) -> None:
            asked.append(phase)

        def cancelled(self) -> bool:
            return asked[-1:] == ["segmenting"]

    with pytest.raises(Cancelled):
        apply(fitted, predictor, ball_case().volume, CancelledWhileLooking())
    assert asked.count("segmenting") == 1  # of one batch: it was heard within that


def test_a_part_of_another_shape_gives_a_sentence(predictor):
    fitted = short_fit("autosam-linear", predictor)
    assert fitted.settings["fit"] == dataclasses.asdict(dataclasses.replace(settings_of("autosam-linear"), **SHORT))
    weights = dict(fitted.weights)
    del weights["layers.6.bias"]
    with pytest.raises(InputError, match="another version of MedPerSAM"):
        apply(dataclasses.replace(fitted, weights=weights), predictor, ball_case().volume, Progress())


def test_a_fit_with_other_settings_is_not_resumed(predictor):
    kept = []
    fit("unet", None, [ball_case()], [], 2, 3, Progress(), None, kept.append, _short(checks=2))
    assert kept[0].training_state
    with pytest.raises(InputError, match="other settings"):
        fit("unet", None, [ball_case()], [], 2, 3, Progress(), kept[0], settings=_short(checks=2, batch=1))
    broken = {key: value for key, value in kept[0].training_state.items() if key != "part.out.bias"}
    with pytest.raises(InputError, match="another version"):
        resume = dataclasses.replace(kept[0], training_state=broken)
        fit("unet", None, [ball_case()], [], 2, 3, Progress(), resume, settings=_short(checks=2))


def _short(**changes):
    return dataclasses.replace(settings_of("unet"), **{**SHORT, **changes})


def test_a_training_stops_early_once_its_checks_get_no_better():
    inputs = Inputs(frames=torch.rand(4, 1, 256, 256, generator=torch.Generator().manual_seed(0)))
    examples = Examples(inputs, torch.zeros(4, 128, 128, dtype=torch.uint8))
    settings = dataclasses.replace(settings_of("unet"), steps=40, checks=20, batch=2, patience=3)

    class Scored(Training):
        """Checks that give what the test wants."""

        def validate(self, progress):
            return float(next(scores))

    for given, steps in ((iter([0.5] * 20), 8), (iter(0.1 + 0.04 * n for n in range(20)), 40)):
        scores = given
        part = build("unet", None, 1, {}, 0)
        state = Scored(part, examples, examples, 1, settings, 0, torch.device("cpu")).run(Progress())
        assert state.finished and state.steps == steps


def test_the_window_holds_most_of_what_was_found():
    view = View(closer_mm=40.0)
    found = np.zeros((3, 100, 120))
    found[:, 60:80, 30:50] = 1
    found[0, 5:9, 100:104] = 1
    frame = view.closer(found, (1.0, 1.0), 256)
    middle = [origin + step * 128 for origin, step in zip(frame.origin, frame.step)]
    assert middle == pytest.approx([70, 40], abs=1)
    assert frame.step[0] * 256 == pytest.approx(40)
    assert view.closer(np.zeros((3, 100, 120)), (1.0, 1.0), 256) is None


def test_small_structures_weigh_more():
    labels = torch.zeros(1, 10, 10, dtype=torch.uint8)
    labels[0, 0, :4] = 1
    flat, half = class_weights(labels, 1, 0.0), class_weights(labels, 1, 0.5)
    assert flat.tolist() == pytest.approx([1, 1])
    assert float(half[1] / half[0]) == pytest.approx((96 / 4) ** 0.5)
    assert float(0.96 * half[0] + 0.04 * half[1]) == pytest.approx(1)


def test_averaged_weights_smooth_and_can_be_tried_on():
    part = torch.nn.BatchNorm2d(1)
    average, last = AverageWeights(part, 0.98), AverageWeights(part, 0.0)
    for step in range(400):
        part.weight.data.fill_(4.0 if step % 2 else 2.0)
        part.num_batches_tracked.fill_(step)
        for values in (average, last):
            values.update(part, step)
    assert float(average.values["weight"]) == pytest.approx(3.0, abs=0.05)
    assert average.values["num_batches_tracked"] == 399
    assert float(last.values["weight"]) == 4.0
    with average.instead_of(part):
        assert part.weight.item() == pytest.approx(3.0, abs=0.05)
    assert part.weight.item() == 4.0


def test_a_convolution_of_an_enlarged_image_without_making_it():
    torch.manual_seed(0)
    deep, skip, weight = torch.randn(2, 6, 5, 7), torch.randn(2, 3, 10, 14), torch.randn(4, 9, 3, 3)
    enlarged = torch.nn.functional.interpolate(deep, scale_factor=2.0, mode="nearest")
    expected = torch.nn.functional.conv2d(torch.cat([enlarged, skip], dim=1), weight, padding=1)
    assert torch.allclose(convolve_enlarged(deep, skip, weight), expected, atol=1e-4)


def test_levels_of_the_embedded_model_end_with_its_embedding(predictor):
    frames = torch.rand(1, 1, 256, 256, generator=torch.Generator().manual_seed(1))
    embedding, levels = encode_levels(predictor, frames)
    assert levels.shape[1] == sum(level_widths(predictor))
    assert torch.allclose(levels[:, -embedding.shape[1] :], embedding)
    assert torch.allclose(embedding, predictor.encode(frames), atol=1e-2)


def test_levels_of_a_vit_are_its_blocks():
    modeling = sam_modeling()
    torch.manual_seed(0)
    encoder = modeling.ImageEncoderViT(
        img_size=64,
        patch_size=16,
        embed_dim=24,
        depth=4,
        num_heads=2,
        out_chans=16,
        window_size=2,
        global_attn_indexes=(3,),
    )
    predictor = _small(encoder, modeling, 16, 4)
    assert level_widths(predictor) == (24, 24, 24)
    seen = []
    for block in encoder.blocks[1:]:
        block.register_forward_hook(lambda _module, _inputs, output: seen.append(output.float()))
    embedding, levels = encode_levels(predictor, torch.rand(2, 1, 64, 64))
    assert embedding.shape == (2, 16, 4, 4)
    for level, block in zip(levels.split(24, dim=1), seen):
        assert torch.allclose(level, block.permute(0, 3, 1, 2), atol=1e-5)


def test_levels_of_mobile_sam_are_its_last_three_stages():
    shape = TinyViTShape(
        image_size=64,
        widths=(16, 16, 24, 32),
        depths=(1, 1, 1, 1),
        heads=(0, 2, 3, 4),
        windows=(0, 7, 3, 7),
        embedding=32,
    )
    predictor = Predictor(build_mobile_sam(shape))
    embedding, levels = encode_levels(predictor, torch.rand(1, 1, 64, 64))
    assert levels.shape == (1, sum(level_widths(predictor)), *embedding.shape[-2:])


def test_a_class_that_no_case_holds(predictor):
    with pytest.raises(InputError, match="Class 3"):
        fit("autosam-linear", predictor, [ball_case()], [], 3, 0, Progress())


def _small(encoder, modeling, width: int, side: int) -> Predictor:
    transformer = modeling.TwoWayTransformer(depth=2, embedding_dim=width, num_heads=2, mlp_dim=32)
    return Predictor(
        modeling.Sam(
            image_encoder=encoder,
            prompt_encoder=modeling.PromptEncoder(width, (side, side), (16 * side, 16 * side), 4),
            mask_decoder=modeling.MaskDecoder(transformer_dim=width, transformer=transformer, iou_head_hidden_dim=16),
        )
    )


def test_the_written_out_cross_entropy_is_pytorchs():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 8, 8, generator=generator)
    labels = torch.randint(0, 4, (2, 8, 8), generator=generator)
    # The Dice part knows no weights, so the difference is the cross-entropy's.
    even, odd = torch.ones(4), torch.tensor([0.1, 2.0, 0.5, 3.0])
    found = segmentation_loss(logits, labels, odd) - segmentation_loss(logits, labels, even)
    expected = [torch.nn.functional.cross_entropy(logits, labels, weight=weights) for weights in (odd, even)]
    torch.testing.assert_close(found, expected[0] - expected[1])
