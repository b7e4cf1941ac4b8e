"""The image generator: shapes, ranges, determinism, and that consecutive slices belong together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from MedPerSAMLib.core.prompts.box import box_prompt
from MedPerSAMLib.core.warp.network import load_warp
from MedPerSAMLib.weights import weights_path
from Testing.training.by_hand import LEAST, MOST, drawn_by_hand
from Testing.training.fields import Random, enlarge, spline_matrix
from Testing.training.g_point import likeness
from Testing.training.looks import PRESETS, _each_its_own, draw_look, render
from Testing.training.prompts import EXACT, KINDS, SCALE, draw_boxes, draw_points, draw_prompts
from Testing.training.samples import Replay, _count, _members, draw_images, draw_targets
from Testing.training.shapes import BODY, COVERS, GRID, LUNGS, ORGANS, draw_scene, labels
from Testing.training.surfaces import facing_the_beam
from Testing.training.train_tiny import likeness_loss


@pytest.mark.parametrize("preset", list(PRESETS))
def test_a_seed_decides_every_pixel(preset):
    kind = next(iter(PRESETS[preset][1]))

    def draw(seed):
        random = Random(seed)
        scene = draw_scene(random, 1, 2, kind)
        return render(random, scene, preset, 64), labels(scene, 128)

    (first, first_labels), (again, again_labels), (other, _) = draw(3), draw(3), draw(4)
    assert first.shape == (1, 2, 3 if preset in ("endoscopy", "skin", "cells") else 1, 256, 256)
    assert first_labels.shape == (1, 2, 128, 128)
    assert 0 <= first.min() and first.max() <= 1
    assert torch.equal(first, again) and torch.equal(first_labels, again_labels)
    assert not torch.equal(first, other)


def test_consecutive_slices_share_their_structures():
    scene = draw_scene(Random(5), 6, 2)
    label = labels(scene, 128)
    agreement = (label[:, 0] == label[:, 1]).float().mean((1, 2))
    assert agreement.mean() > 0.6
    assert not torch.equal(label[:, 0], label[:, 1])
    assert all(len(one.unique()) >= 3 for one in label[:, 0])


def test_every_image_knows_its_neighbour():
    warper, random = load_warp(weights_path("warp")), Random(2)
    replay = Replay(0.5)
    for _ in range(2):
        images = replay.draw(random, lambda: draw_images(random, warper, 1, 2), 3)
        assert torch.equal(images.neighbour[images.neighbour], torch.arange(12))
        counts = [_count(part, images.members.shape[1]) for part in (images.labels[images.neighbour], images.neighbour_labels)]
        assert torch.equal(*counts), "the same slice, but for its mirroring"
    targets = draw_targets(random, images)
    for kind in KINDS:
        score = likeness(torch.randn(12, 4, 32, 32), torch.randn(12, 4, 32, 32), targets.shown, 128)
        for _ in range(4):  # both halves of the draw
            prompts = draw_prompts(random, kind, targets.mask, targets.carried, score)
            if prompts.points is not None:
                assert prompts.points.shape[0] == 12 and (prompts.labels >= 0).any(1).all()


def test_both_lungs_look_alike_and_heart_and_diaphragm_cover_them():
    scene = draw_scene(Random(4), 24, 1, "chest")
    look = draw_look(Random(4), scene, "xray", 128)
    left, right = LUNGS
    assert torch.equal(look.colour[:, left], look.colour[:, right])
    assert (look.colour[:, left] < look.colour[:, [BODY]][:, 0]).float().mean() > 0.9
    both = labels(scene, 128) == scene.group[:, left].view(-1, 1, 1, 1)
    assert (both.flatten(1).sum(1) > 200).float().mean() > 0.8
    uncovered = replace(scene, levels=scene.levels.index_fill(2, torch.tensor(COVERS), 1.0))
    all_of_it = labels(uncovered, 128) == scene.group[:, left].view(-1, 1, 1, 1)
    assert (all_of_it & ~both).flatten(1).any(1).float().mean() > 0.5


def test_a_head_is_asked_for_with_its_skull_or_without_but_whole():
    head, skull = ORGANS[2], ORGANS[3]
    scene = draw_scene(Random(3), 16, 1, "head")
    members = _members(scene)
    wrapped = (scene.shell[:, skull] > 0) & (scene.levels[:, 0, skull].amin((1, 2)) < 0.9)
    assert wrapped.float().mean() > 0.6
    assert members[wrapped, skull, head].all(), "whoever outlines a skull means the head"
    assert scene.inclusion[:, list(ORGANS[4:])].all(), "what lies in a head belongs to it"


def test_ultrasound_shows_little_of_walls_along_the_beam():
    axis = (torch.arange(GRID) + 0.5) / GRID * 2 - 1
    disc = (axis[:, None] ** 2 + axis**2).sqrt() - 0.5
    scene = draw_scene(Random(1), 8, 1, "lesion")
    scene = replace(scene, levels=disc.expand(8, 1, scene.levels.shape[2], -1, -1))
    seen = facing_the_beam(Random(2), scene, torch.full((8, 1, 128, 128), ORGANS[2]))
    top, side = seen[:, 0, 32, 64], seen[:, 0, 64, 32]
    assert (top > 0.9).all() and (seen >= 0).all() and (seen <= 1).all()
    assert (side < top - 0.2).sum() >= 4


def test_slices_of_their_own_tone_keep_their_edges():
    image = torch.zeros(4, 2, 3, 32, 32)
    image[..., 8:24, 8:24] = 0.5
    changed = _each_its_own(Random(1), image)
    assert changed.shape == image.shape and torch.equal(changed > 0, image > 0)
    inside = changed[..., 16, 16]
    assert (inside[:, 0] != inside[:, 1]).all() and not torch.equal(inside[..., 0], inside[..., 1])


def test_a_structure_that_looks_like_itself_elsewhere_costs_little():
    torch.manual_seed(0)
    inside, outside = torch.nn.functional.normalize(torch.randn(2, 16), dim=1)
    masks = torch.zeros(2, 2, 1, 128, 128)
    masks[0, :, :, 16:64, 16:64] = 1
    masks[1, :, :, 48:112, 32:96] = 1
    coarse = torch.nn.functional.avg_pool2d(masks.flatten(0, 1), 4)
    here, there = (coarse * inside[:, None, None] + (1 - coarse) * outside[:, None, None]).unflatten(0, (2, 2))
    alike = likeness_loss(here, there, masks[1], masks[0])
    assert alike < 0.5 * likeness_loss(here.flip(2), there, masks[1], masks[0])
    assert likeness_loss(here, there, torch.zeros_like(masks[1]), masks[0]) == 0, "nothing is known there"


def test_what_is_drawn_by_hand_departs_from_the_edge_in_the_same_way_on_both_slices():
    axis = torch.arange(128) - 63.5
    distance = (axis[:, None] ** 2 + axis**2).sqrt()
    disc, next_disc = ((distance < radius).float().repeat(40, 1, 1, 1) for radius in (30, 28))
    plain = drawn_by_hand(Random(1), disc, next_disc, share=0.0)
    assert torch.equal(plain[0], disc) and torch.equal(plain[1], next_disc)
    here, there = drawn_by_hand(Random(1), disc, next_disc, share=1.0)
    growth, next_growth = (
        part.sum((1, 2, 3)) / whole.sum((1, 2, 3)) for part, whole in ((here, disc), (there, next_disc))
    )
    assert set(here.unique().tolist()) == {0.0, 1.0}
    assert growth.min() >= LEAST and growth.max() <= MOST and (growth - 1).abs().max() > 0.02
    assert np.corrcoef(growth, next_growth)[0, 1] > 0.9
    shapes = (here != disc).flatten(1).any(1)
    assert shapes.float().mean() > 0.9, "nearly all are drawn anew"
    few = drawn_by_hand(Random(1), disc, next_disc)[0]
    assert 0 < (few != disc).flatten(1).any(1).float().mean() < 0.9


def test_what_would_vanish_or_fill_is_left_as_it_is_and_nothing_stays_nothing():
    line = torch.zeros(60, 1, 128, 128)
    line[..., 60:62, 20:100] = 1
    nothing = torch.zeros_like(line)
    here, there = drawn_by_hand(Random(2), line, line, share=1.0)
    for part in (here, there):
        area = part.sum((1, 2, 3)) / line.sum((1, 2, 3))
        assert area.min() >= LEAST and area.max() <= MOST
    assert not drawn_by_hand(Random(2), nothing, line, share=1.0)[0].any()


def test_interpolation_weights_sum_to_one():
    assert spline_matrix(32, 4, "cpu").sum(1).allclose(torch.ones(32), atol=1e-5)
    assert enlarge(torch.ones(1, 64, 64), 100).float().allclose(torch.ones(100, 100), atol=0.02)


def test_prompts_describe_their_mask():
    mask = torch.zeros(2, 1, 128, 128)
    mask[:, :, 40:80, 30:70] = 1
    random = Random(1)
    boxes = draw_boxes(random, mask, grown=False)
    assert (boxes - torch.tensor([60.0, 80.0, 140.0, 160.0])).abs().max() < 10
    points, kinds = draw_points(random, mask, single=False)
    assert points.shape == (2, 8, 2) and kinds.shape == (2, 8)
    inside = mask[0, 0].bool()[(points[..., 1] / 2).long(), (points[..., 0] / 2).long()]
    assert inside[kinds == 1].float().mean() > 0.9
    assert not inside[kinds == 0].any()
    for kind in KINDS:
        prompts = draw_prompts(random, kind, mask, mask)
        assert (prompts.mask_logits is not None) == kind.startswith("carried")
        assert (prompts.boxes is not None) == ("box" in kind)
        assert (prompts.points is not None) == ("point" in kind)


def test_boxes_without_their_errors_are_the_pipelines_own():
    masks = torch.zeros(5, 1, 128, 128)
    masks[0, :, 40:80, 30:70] = 1
    masks[1, :, 60, 61] = 1  # so small that two pixels are added
    masks[2, :, :30, 100:] = 1  # in a corner
    masks[3, :, 20:22, 3:120] = 1
    masks[4] = torch.from_numpy(np.random.default_rng(0).random((1, 128, 128)) > 0.9999)
    expected = np.stack([box_prompt(mask[0].numpy() > 0.5, SCALE) for mask in masks])
    np.testing.assert_allclose(draw_boxes(Random(1), masks, True, EXACT).numpy(), expected, rtol=0, atol=1e-4)
    assert np.abs(draw_boxes(Random(1), masks, True).numpy() - expected).max() > 0.5
