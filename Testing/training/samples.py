"""Training samples of the embedded model: images, their neighbours, target structures and carried masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from torch.nn import functional as F

from MedPerSAMLib.core.precision import fast_precision
from MedPerSAMLib.core.warp.network import WarpNetwork, warp
from Testing.training.by_hand import drawn_by_hand
from Testing.training.fields import Random
from Testing.training.looks import draw_preset, render
from Testing.training.prompts import spoil
from Testing.training.shapes import ORGANS, Scene, draw_scene, labels

MASK = 128  # side of masks and mask prompts
WHOLE, WALL = 0.12, 0.92  # share of targets that include what is nested in them: thick walls, and thin ones
THIN = 0.3  # a wall is thin if it covers less of the whole


@dataclass(frozen=True)
class Images:
    """A batch of B images, each the neighbour slice of another one of the batch.

    Attributes:
        frames: (B, 3, 256, 256) in 0..1.
        labels: (B, MASK, MASK) label of each pixel.
        neighbour_labels: the same of the neighbour slice.
        field: (B, 2, MASK, MASK) carries the neighbour onto the image, as the warping network sees it.
        members: (B, K, K) bool; row g: the labels that belong to structure g and all that lies nested in it.
        area: (B, K) pixels of each label.
        weight: (B, K) how readily each label is chosen as a target.
        neighbour: (B,) which image of the batch is the neighbour slice.
    """

    frames: torch.Tensor
    labels: torch.Tensor
    neighbour_labels: torch.Tensor
    field: torch.Tensor
    members: torch.Tensor
    area: torch.Tensor
    weight: torch.Tensor
    neighbour: torch.Tensor


class Replay:
    """Groups of images drawn lately; each is shown several times, mirrored, with other targets and prompts.

    Args:
        fresh: share of new groups in a batch.
        capacity: groups kept.
    """

    def __init__(self, fresh: float, capacity: int = 48) -> None:
        self.capacity, self.fresh = capacity, fresh
        self.groups: list[Images] = []

    def draw(self, random: Random, draw_group: Callable[[], Images], groups: int) -> Images:
        """``groups`` groups in one batch, partly from the store."""
        new = groups if len(self.groups) < groups else max(1, round(groups * self.fresh))
        batch = [draw_group() for _ in range(new)]
        old = [self.groups[random.number(0, len(self.groups))] for _ in range(groups - new)]
        self.groups = (self.groups + batch)[-self.capacity :]
        return joined([mirror(random, images) for images in batch + old])


def joined(parts: Sequence[Images]) -> Images:
    """Several batches as one."""
    columns = {f.name: torch.cat([getattr(part, f.name) for part in parts]) for f in fields(Images)}
    before = 0
    for part in parts:
        columns["neighbour"][before : before + len(part.frames)] += before
        before += len(part.frames)
    return Images(**columns)


def mirror(random: Random, images: Images) -> Images:
    """The images flipped and transposed at random: both slices alike, or each by itself.

    Where a structure lies, and how it is turned, says little about it in another picture.
    """
    if random.happens(0.5):
        return _mirrored(random, images)
    half = len(images.frames) // 2
    first, second = (_mirrored(random, _rows(images, rows)) for rows in (slice(0, half), slice(half, None)))
    return Images(*(torch.cat([getattr(part, f.name) for part in (first, second)]) for f in fields(Images)))


def _rows(images: Images, rows: slice) -> Images:
    return Images(*(getattr(images, f.name)[rows] for f in fields(Images)))


def _mirrored(random: Random, images: Images) -> Images:
    planes = [images.frames, images.labels, images.neighbour_labels, images.field]
    for axis, channel in ((-1, 0), (-2, 1)):
        if random.happens(0.5):
            planes = [plane.flip(axis) for plane in planes]
            planes[3][:, channel] *= -1
    if random.happens(0.5):
        planes = [plane.transpose(-1, -2) for plane in planes]
        planes[3] = planes[3].flip(1)
    return Images(*planes, images.members, images.area, images.weight, images.neighbour)


def draw_images(random: Random, warper: WarpNetwork, groups: int, volumes: int) -> Images:
    """2 * groups * volumes images: both slices of every volume, one preset per group."""
    parts = []
    for _ in range(groups):
        preset, kind, side = draw_preset(random)
        scene = draw_scene(random, volumes, 2, kind)
        frames = render(random, scene, preset, side).expand(-1, -1, 3, -1, -1)
        label = labels(scene, MASK).masked_fill(_black(frames), 0)
        parts.append((frames.transpose(0, 1).flatten(0, 1), label.transpose(0, 1).flatten(0, 1),
                      label.flip(1).transpose(0, 1).flatten(0, 1), frames.flip(1).transpose(0, 1).flatten(0, 1),
                      _members(scene).repeat(2, 1, 1)))  # fmt: skip
    frames, label, other_label, other_frames, members = (torch.cat(part) for part in zip(*parts))
    small = lambda x: F.avg_pool2d(x.mean(1, keepdim=True), x.shape[-1] // MASK)
    with torch.no_grad(), fast_precision(random.device):
        field = warper(small(other_frames), small(frames)).float()
    area, weight = _target_weights(frames, label, other_label, members.shape[1])
    both = torch.arange(2 * volumes, device=frames.device)
    neighbour = torch.cat([2 * volumes * group + both.roll(volumes) for group in range(groups)])
    return Images(frames, label, other_label, field, members, area, weight, neighbour)


def _target_weights(
    frames: torch.Tensor, label: torch.Tensor, other: torch.Tensor, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Area of each label (B, K), and how readily it is chosen as a target."""
    here, there = _count(label, count), _count(other, count)
    usable = (here > 24) & (there > 24) & (here < 0.55 * MASK**2)
    ended = (here == 0) & (there > 40) & (there < 2500)
    weight = usable * here.clamp(min=1) ** 0.5 + ended * 2.0
    # Structures of interest lie inside the frame: what runs out of it, and mere background, is seldom asked for.
    edge = torch.cat([label[:, [0, -1]].flatten(1), label[:, :, [0, -1]].flatten(1)], dim=1)
    weight = weight / (1 + 4 * _count(edge, count) / here.clamp(min=1).sqrt()) ** 2
    weight[:, : ORGANS[0]] *= 0.04
    # What cannot be seen teaches little; some of it stays, because real neighbours can be alike too.
    weight = weight * (0.05 + (_contrast(frames, label, count) / 0.12).clamp(max=1) ** 1.5)
    return here, weight + 1e-6


def _contrast(frames: torch.Tensor, label: torch.Tensor, count: int) -> torch.Tensor:
    """(B, K) difference of mean intensity between each label and what surrounds it, in the channel that shows it best."""
    small = F.avg_pool2d(frames, frames.shape[-1] // 32).flatten(2)
    own = F.one_hot(label[:, 2::4, 2::4], count).movedim(-1, 1).float()
    ring = (F.max_pool2d(own, 5, 1, 2) - own).flatten(2)
    own = own.flatten(2)
    means = [small @ (part / part.sum(2, keepdim=True).clamp(min=1)).transpose(1, 2) for part in (own, ring)]
    return (means[0] - means[1]).abs().amax(1)


def _count(label: torch.Tensor, count: int) -> torch.Tensor:
    """(B, ...) labels -> (B, K) pixels of each."""
    flat = label.flatten(1)
    zeros = torch.zeros(len(flat), count, device=flat.device)
    return zeros.scatter_add_(1, flat, torch.ones_like(flat, dtype=torch.float32))


def _black(frames: torch.Tensor) -> torch.Tensor:
    """(n, S, MASK, MASK) where frames (n, S, C, 256, 256) are padding or outside the modality's window."""
    bright = F.avg_pool2d(frames.amax(2), 8) <= 0
    return bright.repeat_interleave(MASK // bright.shape[-1], 2).repeat_interleave(MASK // bright.shape[-1], 3)


def _members(scene: Scene) -> torch.Tensor:
    """(n, K, K) bool: structure -> labels of it and of the shapes nested in it; of a shell, of what it holds."""
    n, k = scene.group.shape
    members = torch.eye(k, dtype=torch.bool, device=scene.group.device).repeat(n, 1, 1)
    rows = torch.arange(n, device=scene.group.device)
    for slot in range(3, k):
        outer = scene.group[rows, scene.parent[:, slot]]
        members[rows, :, scene.group[:, slot]] |= members[rows, :, outer]
    for slot in ORGANS[1:]:
        held = scene.group[rows, scene.parent[:, slot]]
        wraps = (scene.shell[:, slot] > 0) & (held != scene.group[:, slot])
        members[rows, scene.group[:, slot]] |= members[rows, held] & wraps[:, None]
    return members


@dataclass(frozen=True)
class Targets:
    """One structure per image; each (B, 1, MASK, MASK) in 0..1.

    A few structures are present in the neighbour only: there the mask is empty.

    Attributes:
        mask: what is asked for.
        known: the neighbour's mask, where the image's own frame has it.
        carried: it as the pipeline would carry it, with errors.
        shown: the structure where the neighbour slice shows it, which may be mirrored; not as drawn by hand.
    """

    mask: torch.Tensor
    known: torch.Tensor
    carried: torch.Tensor
    shown: torch.Tensor


def draw_targets(random: Random, images: Images) -> Targets:
    """Choose a structure in every image."""
    chosen = torch.multinomial(images.weight, 1, generator=random.generator)[:, 0]
    count = images.members.shape[1]
    rows = torch.arange(len(chosen), device=chosen.device)
    own = F.one_hot(chosen, count).bool()
    nested = images.members[rows, chosen]
    area = images.area[rows, chosen]
    # Whoever outlines a skull or a cyst means what it holds as well; a muscle's wall is a structure of its own.
    share = torch.where(area < THIN * (images.area * nested).sum(1), WALL, WHOLE)
    whole = (random.uniform(0, 1, len(chosen)) < share) & (area > 0)
    member = torch.where(whole[:, None], nested, own)
    mask = member.gather(1, images.labels.flatten(1)).view_as(images.labels)[:, None].float()
    neighbour = member.gather(1, images.neighbour_labels.flatten(1)).view_as(images.labels)[:, None].float()
    shown = member.gather(1, images.labels[images.neighbour].flatten(1)).view_as(images.labels)[:, None].float()
    mask, neighbour = drawn_by_hand(random, mask, neighbour)
    warped = warp(neighbour, images.field)
    return Targets(mask, neighbour, spoil(random, mask, neighbour, warped), shown)
