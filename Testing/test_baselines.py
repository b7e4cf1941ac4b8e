"""The one-shot baselines do what their papers say, on a volume and on images.

No trained model is needed: the SAM here has random prompt encoder and decoder weights, and an encoder made by hand whose
embedding is the image's intensity. So nothing here measures accuracy; that is what ``medpersam evaluate`` is for.
"""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest
import torch
from scipy import ndimage

from MedPerSAMLib.core.frame import Frame
from MedPerSAMLib.core.methods import method_class
from MedPerSAMLib.core.methods.cascade import best_of, refine_with_box
from MedPerSAMLib.core.methods.guided_decoder import guided_decode
from MedPerSAMLib.core.methods.mask_pool import Pool, PoolScore, distinct_masks, score_pool
from MedPerSAMLib.core.methods.matcher import Matcher, MatcherSettings, two_way_matches
from MedPerSAMLib.core.methods.per_image import Annotated, any_coverage
from MedPerSAMLib.core.methods.persam import PerSAM, PerSAMSettings
from MedPerSAMLib.core.methods.persam_f import PerSAMF, PerSAMFSettings, fit_scale_weights
from MedPerSAMLib.core.methods.similarity import cosine_map, extreme_points
from MedPerSAMLib.core.progress import CallbackProgress, Progress
from MedPerSAMLib.core.sam.modeling import sam_modeling
from MedPerSAMLib.core.sam.predictor import Decoded, Predictor, Prompts
from MedPerSAMLib.core.sam.two_way import read_image
from MedPerSAMLib.core.session import ImageSession, VolumeSession
from MedPerSAMLib.core.task import Reference, Volume
from MedPerSAMLib.errors import Cancelled, DependencyError, InputError, ModelError

FRAME, EMBEDDING, WIDTH = 64, 16, 32
SHAPE = (7, 40, 52)
ANNOTATED = 3


class IntensityEncoder(torch.nn.Module):
    """Embeds a frame as directions in a plane that turn with the intensity: equal intensity, cosine 1; opposite, 0."""

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        grey = torch.nn.functional.adaptive_avg_pool2d(frames[:, :1], EMBEDDING) / 255
        angle = (grey * torch.pi / 2).clamp(0, torch.pi / 2)
        return torch.cat([angle.cos(), angle.sin(), torch.zeros(len(frames), WIDTH - 2, EMBEDDING, EMBEDDING)], dim=1)


def random_sam(width: int = WIDTH) -> torch.nn.Module:
    """A small Sam with random weights, input 64 x 64, embedding 16 x 16."""
    modeling = sam_modeling()
    torch.manual_seed(1)
    transformer = modeling.TwoWayTransformer(depth=2, embedding_dim=width, num_heads=4, mlp_dim=64)
    return modeling.Sam(
        image_encoder=IntensityEncoder(),
        prompt_encoder=modeling.PromptEncoder(width, (EMBEDDING, EMBEDDING), (FRAME, FRAME), 4),
        mask_decoder=modeling.MaskDecoder(transformer_dim=width, transformer=transformer, iou_head_hidden_dim=32),
        pixel_mean=[0.0, 0.0, 0.0],
        pixel_std=[1.0, 1.0, 1.0],
    )


class Listening(Predictor):
    """A predictor that remembers the prompts of each plain decode."""

    def __init__(self) -> None:
        super().__init__(random_sam(), batch=4)
        self.heard: list[Prompts] = []

    def decode(self, embeddings: torch.Tensor, prompts: Prompts, multimask: bool = False) -> Decoded:
        self.heard.append(prompts)
        return super().decode(embeddings, prompts, multimask)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(random_sam(), batch=4)


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    """A bright ellipsoid that drifts to the right from slice to slice."""
    k, row, column = np.indices(SHAPE)
    return ((row - 18) / 9.0) ** 2 + ((column - 20 - 2 * k) / 8.0) ** 2 < 1


@pytest.fixture(scope="module")
def volume(truth) -> Volume:
    noise = np.random.default_rng(0).normal(0, 0.02, SHAPE)
    return Volume((0.2 + 0.6 * truth + noise).astype(np.float32), (5.0, 1.0, 1.0))


@pytest.fixture(scope="module")
def reference(truth) -> Reference:
    return Reference({ANNOTATED: truth[ANNOTATED]}, "ball")


FAST = {
    "persam": PerSAM(),
    "persam-f": PerSAMF(PerSAMFSettings(steps=20)),
    "matcher": Matcher(MatcherSettings(subsets=2)),
    "copy": method_class("copy")(),
}
WITH_MODEL = ("persam", "persam-f", "matcher")


@pytest.mark.parametrize("name", FAST)
def test_every_slice_gets_a_mask_and_annotated_ones_stay(name, volume, predictor, truth):
    reference = Reference({1: truth[1], 5: truth[5]})
    result = FAST[name].propagate(VolumeSession(volume, predictor), reference, Progress())
    assert result.mask.shape == SHAPE and result.mask.dtype == bool
    assert np.array_equal(result.mask[[1, 5]], truth[[1, 5]])
    assert result.finished.all()
    assert np.array_equal(result.confidence[[1, 5]], [1, 1])
    assert ((result.confidence >= 0) & (result.confidence <= 1)).all()
    assert np.array_equal(result.present, result.mask.any(axis=(1, 2)))


@pytest.mark.parametrize("name", FAST)
def test_a_range_limits_the_work_and_progress_hears_of_each_slice(name, volume, predictor, reference):
    seen, steps = [], []
    listener = CallbackProgress(lambda *step: steps.append(step), lambda index, mask, sure: seen.append(index))
    result = FAST[name].propagate(VolumeSession(volume, predictor), reference, listener, range(2, 6))
    assert sorted(seen) == [2, 4, 5]
    assert np.flatnonzero(result.finished).tolist() == [2, 3, 4, 5]
    assert not result.mask[[0, 1, 6]].any() and not result.confidence[[0, 1, 6]].any()
    assert steps[-1][1:] == (3, 3)


@pytest.mark.parametrize("name", FAST)
def test_a_cancel_stops_and_leaves_what_was_handed_over(name, volume, predictor, reference):
    seen = []
    listener = CallbackProgress(on_slice=lambda index, *_: seen.append(index), is_cancelled=lambda: bool(seen))
    with pytest.raises(Cancelled):
        FAST[name].propagate(VolumeSession(volume, predictor), reference, listener)
    assert len(seen) == 1


@pytest.mark.parametrize("name", WITH_MODEL)
def test_batches_equal_one_by_one(name, volume, reference, predictor):
    method, frame = FAST[name], Frame.full(SHAPE[1:], (1.0, 1.0), FRAME)
    session = VolumeSession(volume, predictor)
    embeddings, on_image = session.embedder.embed(range(4), frame), torch.ones(FRAME, FRAME, dtype=torch.bool)
    mask = frame.sample(torch.from_numpy(reference.masks[ANNOTATED])[None, None].float())[0, 0]
    learned = method.learn(predictor, Annotated(embeddings[3], mask, on_image), Progress())
    together = method.segment(predictor, learned, embeddings, on_image, 0)
    singly = [method.segment(predictor, learned, one[None], on_image, 0) for one in embeddings]
    assert torch.allclose(together.logits, torch.cat([one.logits for one in singly]), atol=1e-4)
    assert torch.allclose(together.predicted_iou, torch.cat([one.predicted_iou for one in singly]), atol=1e-5)


@pytest.mark.parametrize("name", WITH_MODEL)
def test_the_seed_decides_everything(name, volume, predictor, reference):
    results = [FAST[name].propagate(VolumeSession(volume, predictor, seed=3), reference, Progress()) for _ in range(2)]
    assert np.array_equal(results[0].mask, results[1].mask)
    assert np.array_equal(results[0].confidence, results[1].confidence)


@pytest.mark.parametrize("name", FAST)
def test_transfer_keeps_each_target_s_shape(name, volume, truth, predictor):
    colour = np.repeat(volume.array[2][::2, ::2, None], 3, axis=2)
    session = ImageSession(volume.array[3], truth[3], [volume.array[4], colour], predictor)
    results = FAST[name].transfer(session, Progress())
    assert [result.mask.shape for result in results] == [SHAPE[1:], (20, 26)]
    assert all(0 <= result.confidence <= 1 for result in results)


@pytest.mark.parametrize("name", FAST)
def test_what_does_not_fit_is_refused_by_name(name, volume, truth, predictor, reference):
    session = VolumeSession(volume, predictor)
    with pytest.raises(InputError, match=r"range\(5, 9\)"):
        FAST[name].propagate(session, reference, Progress(), range(5, 9))
    with pytest.raises(InputError, match="outside the volume"):
        FAST[name].propagate(session, Reference({9: truth[3]}), Progress())
    with pytest.raises(InputError, match="only 0 pixels"):
        FAST[name].transfer(ImageSession(volume.array[3], truth[3] & False, [volume.array[4]], predictor), Progress())
    with pytest.raises(InputError, match=r"\(10, 52\)"):
        FAST[name].transfer(ImageSession(volume.array[3], truth[3][:10], [volume.array[4]], predictor), Progress())


@pytest.mark.parametrize("name", WITH_MODEL)
def test_no_model_no_result(name, volume, reference):
    with pytest.raises(ModelError, match="needs a SAM"):
        FAST[name].propagate(VolumeSession(volume), reference, Progress())


@pytest.mark.parametrize("name", WITH_MODEL)
def test_zoom_shows_the_neighbourhood_only(name, volume, reference, predictor):
    """A mask can only lie in the window that the annotated mask's box spans a half of."""
    settings = dataclasses.replace(FAST[name].settings, zoom_share=0.5)
    result = type(FAST[name])(settings).propagate(VolumeSession(volume, predictor), reference, Progress())
    window = np.zeros(SHAPE[1:], bool)
    rows, columns = np.nonzero(reference.masks[ANNOTATED])
    side = max(np.ptp(rows), np.ptp(columns)) + 1
    middle = (rows.min() + rows.max() + 1) / 2, (columns.min() + columns.max() + 1) / 2
    window[tuple(slice(max(0, int(m - side)), int(np.ceil(m + side))) for m in middle)] = True
    assert not (result.mask & ~window).any() and np.array_equal(result.mask[ANNOTATED], reference.masks[ANNOTATED])


def test_copy_follows_the_nearest_slice_and_grows_unsure(volume, truth, predictor):
    result = FAST["copy"].propagate(VolumeSession(volume), Reference({0: truth[0], 5: truth[5]}), Progress())
    for index, source in {1: 0, 2: 0, 3: 5, 4: 5, 6: 5}.items():
        assert np.array_equal(result.mask[index], truth[source]), index
    assert result.confidence[1] > result.confidence[2] > 0
    assert result.confidence[4] > result.confidence[3]


def test_copy_resizes_by_nearest_neighbour():
    mask = np.zeros((4, 6), bool)
    mask[1:3, 2:5] = True
    session = ImageSession(np.random.default_rng(0).random((4, 6)), mask, [np.random.default_rng(1).random((8, 12, 3))])
    (result,) = FAST["copy"].transfer(session, Progress())
    assert np.array_equal(result.mask, mask.repeat(2, axis=0).repeat(2, axis=1))


@pytest.mark.parametrize("width", [32, 128])
@pytest.mark.parametrize("multimask", [False, True])
def test_guides_of_zero_are_the_plain_decoder(width, multimask):
    predictor = Predictor(random_sam(width))
    embeddings = torch.randn(3, width, EMBEDDING, EMBEDDING)
    prompts = Prompts(torch.rand(3, 2, 2) * FRAME, torch.tensor([[1, 0]]).expand(3, -1))
    plain = predictor.decode(embeddings, prompts, multimask)
    zeros = torch.zeros(3, EMBEDDING, EMBEDDING)
    unguided = guided_decode(predictor, embeddings, prompts, zeros, torch.zeros(width), multimask)
    assert torch.allclose(plain.logits, unguided.logits, atol=1e-4)
    assert torch.allclose(plain.predicted_iou, unguided.predicted_iou, atol=1e-5)


def test_each_guide_changes_the_result_and_an_equal_bias_does_not(predictor):
    embeddings = torch.randn(2, WIDTH, EMBEDDING, EMBEDDING)
    prompts = Prompts(torch.rand(2, 1, 2) * FRAME, torch.ones(2, 1))
    plain = predictor.decode(embeddings, prompts).logits
    equal, nothing = torch.full((2, EMBEDDING, EMBEDDING), 0.7), torch.zeros(WIDTH)
    assert torch.allclose(guided_decode(predictor, embeddings, prompts, equal, nothing).logits, plain, atol=1e-4)
    uneven = torch.zeros(2, EMBEDDING, EMBEDDING)
    uneven[:, 3, 4] = 5.0
    assert not torch.allclose(guided_decode(predictor, embeddings, prompts, uneven, nothing).logits, plain, atol=1e-3)
    moved = guided_decode(predictor, embeddings, prompts, equal, torch.ones(WIDTH)).logits
    assert not torch.allclose(moved, plain, atol=1e-3)


def test_a_strong_bias_makes_the_tokens_see_one_place_only(predictor):
    """With all attention on one place, what the other places hold must not reach the tokens of the first layer."""
    layer = predictor.sam.mask_decoder.transformer.layers[0].cross_attn_token_to_image
    tokens, image = torch.randn(1, 5, WIDTH), torch.randn(1, EMBEDDING**2, WIDTH)
    bias = torch.full((1, EMBEDDING**2), -1e4)
    bias[:, 37] = 0
    seen = read_image(layer, tokens, image, image, bias)
    alone = layer(q=tokens, k=image[:, 37:38], v=image[:, 37:38])
    assert torch.allclose(seen, alone, atol=1e-5)


def test_persam_points_at_the_structure_and_away_from_it(volume, truth, predictor):
    frame = Frame.full(SHAPE[1:], (1.0, 1.0), FRAME)
    session = VolumeSession(volume, predictor)
    embeddings = session.embedder.embed(range(SHAPE[0]), frame)
    mask = frame.sample(torch.from_numpy(truth[ANNOTATED])[None, None].float())[0, 0]
    prototype = FAST["persam"].learn(
        predictor, Annotated(embeddings[ANNOTATED], mask, torch.ones(FRAME, FRAME, dtype=torch.bool)), Progress()
    )
    shown = frame.sample(torch.ones(1, 1, *SHAPE[1:]))[0, 0] > 0.5
    on_mask = any_coverage(shown, predictor.mask_size)
    most, least = extreme_points(cosine_map(embeddings, prototype), on_mask, FRAME)
    scale = 52 / FRAME
    for index in range(SHAPE[0]):
        column, row = (most[index] * scale).int().tolist()
        assert truth[index, row, column], index
        column, row = (least[index] * scale).int().tolist()
        assert row < SHAPE[1], "the negative point lies on the image, not in the black padding below it"
        assert not truth[index, row, column], index


def test_persam_s_guides_can_be_left_out(volume, reference, predictor):
    session = VolumeSession(volume, predictor)
    # The model's own estimate shows every change; a random model's masks may happen to be the same.
    estimates = [
        PerSAM(PerSAMSettings(attention=a, semantic=s)).propagate(session, reference, Progress()).details["predicted_iou"]
        for a, s in ((True, True), (True, False), (False, True))
    ]
    assert not np.array_equal(estimates[0], estimates[1]) and not np.array_equal(estimates[0], estimates[2])


def test_the_cascade_takes_the_best_mask_and_leaves_empty_ones(predictor):
    decoded = Decoded(torch.arange(6.0).reshape(2, 3, 1, 1), torch.tensor([[0.1, 0.9, 0.2], [0.8, 0.3, 0.7]]))
    best = best_of(decoded)
    assert best.logits.flatten().tolist() == [1.0, 3.0] and best.predicted_iou.shape == (2, 1)

    size = predictor.mask_size
    logits = torch.full((2, 1, size, size), -5.0)
    logits[1, 0, 10:20, 10:20] = 5.0
    previous = Decoded(logits, torch.full((2, 1), 0.5))
    points, labels = torch.full((2, 1, 2), 15.0), torch.ones(2, 1)
    shown = torch.ones(size, size, dtype=torch.bool)
    refined = refine_with_box(predictor, torch.randn(2, WIDTH, EMBEDDING, EMBEDDING), points, labels, previous, shown)
    assert torch.equal(refined.logits[0], logits[0]) and not torch.equal(refined.logits[1], logits[1])


def test_the_box_is_tight_around_the_previous_mask():
    listening = Listening()
    logits = torch.full((1, 1, listening.mask_size, listening.mask_size), -5.0)
    logits[0, 0, 10:20, 30:45] = 5.0
    shown = torch.ones(listening.mask_size, listening.mask_size, dtype=torch.bool)
    shown[18:] = False
    embeddings, previous = torch.randn(1, WIDTH, EMBEDDING, EMBEDDING), Decoded(logits, torch.ones(1, 1))
    refine_with_box(listening, embeddings, torch.ones(1, 1, 2), torch.ones(1, 1), previous, shown)
    scale = FRAME / listening.mask_size
    assert (listening.heard[0].boxes / scale).tolist() == [[30, 10, 45, 18]], "and keeps off the padding"
    assert listening.heard[0].mask_logits is logits


def test_persam_cascades_from_points_over_logits_to_a_box(volume, reference):
    listening = Listening()
    PerSAM().propagate(VolumeSession(volume, listening), reference, Progress(), range(4, 5))
    second, third = listening.heard
    assert second.boxes is None and second.mask_logits is not None and third.boxes is not None
    assert torch.equal(second.points, third.points) and second.labels.tolist() == [[1, 0]]
    assert not torch.equal(second.mask_logits, third.mask_logits)


def test_persam_f_finds_the_scale_that_fits():
    """Of three masks the second is right: its weight must grow most, and the mixture must beat the plain mean."""
    random = torch.Generator().manual_seed(0)
    truth = (torch.rand(400, generator=random) < 0.3).float()
    right = (truth * 2 - 1) * 3
    logits = torch.stack([-right + 1, right, torch.randn(400, generator=random)])
    weights = fit_scale_weights(logits, truth, PerSAMFSettings(steps=300), Progress())
    assert weights.sum() == pytest.approx(1, abs=1e-5)
    assert weights.argmax() == 1 and weights[1] > 0.4 and weights[0] < 1 / 3


def test_two_way_matching_keeps_pairs_that_return():
    """Annotated places 0 and 1 are the structure. Target place 2 looks more like place 3 outside: it must go."""
    similarity = np.array([[0.9, 0.1, 0.2, 0.0], [0.1, 0.2, 0.5, 0.1], [0.1, 0.9, 0.0, 0.2], [0.0, 0.1, 0.8, 0.3]])
    inside = np.array([True, True, False, False])
    assert two_way_matches(similarity, inside).tolist() == [0]
    assert two_way_matches(similarity, np.array([False, True, False, False])).tolist() == [2], "none returns: all stay"


def test_matcher_s_points_lie_in_the_structure(volume, truth, predictor):
    frame = Frame.full(SHAPE[1:], (1.0, 1.0), FRAME)
    embeddings = VolumeSession(volume, predictor).embedder.embed([ANNOTATED, 5], frame)
    features = torch.nn.functional.normalize(embeddings.flatten(2), dim=1)
    similarity = (features[0].T @ features[1]).numpy()
    cells = [any_coverage(frame.sample(torch.from_numpy(truth[i])[None, None].float())[0, 0], 16) for i in (3, 5)]
    matched = two_way_matches(similarity, cells[0].flatten().numpy())
    inside = cells[1].flatten().numpy()[matched].mean()
    assert inside > 0.8 > 2 * cells[1].float().mean()


def test_matcher_prompts_with_subsets_of_those_points(volume, truth, reference):
    listening = Listening()
    FAST["matcher"].propagate(VolumeSession(volume, listening), reference, Progress(), range(4, 5))
    (prompts,) = listening.heard
    counts = (prompts.labels == 1).sum(dim=1)
    assert ((counts >= 4) & (counts <= 6)).all() and not (prompts.labels == 0).any()
    columns, rows = (prompts.points[prompts.labels == 1] * 52 / FRAME).int().T.numpy()
    assert truth[4][rows, columns].mean() > 0.8


def test_the_pool_drops_doubles_and_empty_masks():
    logits = torch.full((4, 8, 8), -1.0)
    logits[0, :4], logits[1, :4], logits[2, 5:] = 1.0, 1.0, 1.0
    pool = Pool(logits, torch.tensor([0.5, 0.7, 0.2, 0.9]))
    everywhere = torch.ones(8, 8, dtype=torch.bool)
    assert distinct_masks(pool, everywhere, 0.9).predicted_iou.tolist() == pytest.approx([0.7, 0.2])
    nothing = Pool(logits[3:], torch.tensor([0.9]))
    assert distinct_masks(nothing, everywhere, 0.9).logits.shape == (1, 8, 8)


def test_the_pool_s_score_prefers_the_mask_that_looks_like_the_structure():
    """Left half of a target equals the structure, right half is its opposite; both halves are candidates."""
    logits = torch.full((2, 16, 16), -1.0)
    logits[0, :, :8], logits[1, :, 8:] = 1.0, 1.0
    shown = torch.ones(4, 4, dtype=torch.bool)
    similarity = torch.tensor([1.0, 1.0, -1.0, -1.0]).repeat(4).expand(5, -1)
    matched = np.array([0, 1, 4, 5])
    scores = score_pool(Pool(logits, torch.ones(2)), similarity, shown, matched, PoolScore(), np.random.default_rng(0))
    assert scores.tolist() == pytest.approx([0.8 + 0.2 * 0.5, 0.0])


class TestGrowFromSeeds:
    @pytest.fixture
    def method(self):
        pytest.importorskip("slicer", reason="slicer-core is not installed: pip install slicer-core")
        return method_class("grow-from-seeds")()

    def test_follows_a_bright_structure(self, method, volume, truth, reference):
        result = method.propagate(VolumeSession(volume), reference, Progress())
        assert np.array_equal(result.mask[ANNOTATED], truth[ANNOTATED])
        others = np.arange(SHAPE[0]) != ANNOTATED
        common = (result.mask & truth)[others].sum()
        assert 2 * common / (result.mask[others].sum() + truth[others].sum()) > 0.9
        assert result.confidence[ANNOTATED] == 1 and (np.diff(result.confidence[ANNOTATED:]) < 0).all()

    def test_range_and_two_annotated_slices(self, method, volume, truth):
        reference = Reference({1: truth[1], 5: truth[5]})
        result = method.propagate(VolumeSession(volume), reference, Progress(), range(2, 5))
        assert np.flatnonzero(result.finished).tolist() == [1, 2, 3, 4, 5]
        assert np.array_equal(result.mask[[1, 5]], truth[[1, 5]])
        assert not result.mask[[0, 6]].any()
        common = (result.mask & truth)[3].sum()
        assert 2 * common / (result.mask[3].sum() + truth[3].sum()) > 0.9, "seeds on the outermost slices grow too"

    def test_seeds_keep_off_the_outline_and_thin_masks_keep_a_seed(self):
        from MedPerSAMLib.mrml.grow_from_seeds import slice_seeds

        mask = np.zeros((40, 40), bool)
        mask[10:30, 10:30] = True
        seeds = slice_seeds(mask, 0.1)
        assert not (seeds[~mask] == 1).any() and not (seeds[mask] == 2).any()
        outline = mask ^ ndimage.binary_erosion(mask)
        assert (seeds[outline] == 0).all() and (seeds == 1).sum() > 200 and (seeds == 2).sum() > 900
        line = np.zeros((40, 40), bool)
        line[20, 10:20] = True
        assert (slice_seeds(line, 0.1)[line] == 1).all()

    def test_a_cancel_is_noticed_before_growing(self, method, volume, reference):
        with pytest.raises(Cancelled):
            method.propagate(VolumeSession(volume), reference, CallbackProgress(is_cancelled=lambda: True))

    def test_without_slicer_the_remedy_is_named(self, volume, reference, monkeypatch):
        monkeypatch.setitem(sys.modules, "slicer", None)
        with pytest.raises(DependencyError, match="pip install slicer-core"):
            method_class("grow-from-seeds")().propagate(VolumeSession(volume), reference, Progress())
