"""Random anatomy: per volume a stack of nested, touching and overlapping level sets, cut at consecutive depths.

A scene lives in frame coordinates: x and y run over -1..1 across the frame, z is the depth in the same unit. Shapes are
painted in order, later ones over earlier ones; a point belongs to the last shape whose level set is negative there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from Testing.training.fields import Random, enlarge, turn

GRID = 64  # pixels along a side at which level sets are evaluated before they are interpolated

BODY, RIM = 1, 2  # slot 0 is what lies around the body
TISSUES = (3, 4, 5)
ORGANS = tuple(range(6, 14))
TUBES = (14, 15, 16)
SHEETS = (17,)
SPECKS = (18, 19)
LUNGS = ORGANS[3:5]
COVERS = ORGANS[5:8]  # of the lungs: the heart and both domes of the diaphragm
SLOTS = 20


@dataclass(frozen=True)
class Scene:
    """Cut label maps of n volumes, S slices each, with K = SLOTS shapes.

    Attributes:
        levels: (n, S, K, GRID, GRID) level sets, negative inside, in frame half-widths.
        shell: (n, K) half thickness of shapes that are shells, 0 for solid ones.
        inclusion: (n, K) bool, shapes that change the look but belong to the label beneath.
        hidden: (n, K) bool, shapes that are a label of their own but look like what is beneath: borders by convention.
        group: (n, K) label of each shape; several shapes may share one.
        parent: (n, K) slot of the shape a nested one lies in, or itself.
        gap: (n,) depth between the slices in frame half-widths.
        still: (n,) phase by which fine texture turns from slice to slice, radians.
    """

    levels: torch.Tensor
    shell: torch.Tensor
    inclusion: torch.Tensor
    hidden: torch.Tensor
    group: torch.Tensor
    parent: torch.Tensor
    gap: torch.Tensor
    still: torch.Tensor

    def at(self, size: int) -> torch.Tensor:
        """(n, S, K, size, size) bfloat16 level sets with the shells cut out of their surfaces."""
        levels = enlarge(self.levels, size)
        for slot in ORGANS + SHEETS:
            thickness = self.shell[:, slot].view(-1, 1, 1, 1).bfloat16()
            solid = levels[:, :, slot]
            levels[:, :, slot] = torch.where(thickness > 0, solid.abs() - thickness, solid)
        return levels


def paint(levels: torch.Tensor, allowed: torch.Tensor | None = None) -> torch.Tensor:
    """(n, S, K, h, w) level sets -> (n, S, h, w) slot of the last one that is negative; ``allowed`` is (n, K) bool."""
    order = torch.arange(levels.shape[2], device=levels.device, dtype=torch.uint8)
    rank = order.expand(levels.shape[0], -1) if allowed is None else order * allowed.to(torch.uint8)
    inside = (levels < 0).to(torch.uint8)
    return (inside * rank[:, None, :, None, None]).amax(2).long()


def labels(scene: Scene, size: int) -> torch.Tensor:
    """(n, S, size, size) label of each pixel; 0 is outside everything."""
    slots = paint(scene.at(size), ~scene.inclusion)
    count = scene.group.shape[1]
    offset = torch.arange(len(slots), device=slots.device).view(-1, 1, 1, 1) * count
    return scene.group.flatten()[slots + offset]


def draw_scene(random: Random, count: int, slices: int = 2, kind: str = "anatomy") -> Scene:
    """Draw ``count`` volumes cut at ``slices`` consecutive depths.

    Args:
        random: source of all draws.
        count: volumes n.
        slices: S.
        kind: 'anatomy' (organs in a body), 'heart' (ring walls with a neighbour crescent), 'lesion' (one to three
            irregular blobs on tissue), 'cells' (round cells with lobed nuclei), 'chest' (two lungs sharing a label, cut by
            heart and diaphragm), 'head' (a skull around what belongs to one label).
    """
    n, k = count, SLOTS
    unzoomed = random.chance(0.2, n)
    centre = random.uniform(-0.85, 0.85, n, k, 2)
    radius = random.log_uniform(0.12, 0.5, n, k)
    radius[:, list(TUBES)] = random.log_uniform(0.04, 0.16, n, len(TUBES))
    aspect = random.log_uniform(1.0, 2.2, n, k)
    weight = torch.ones(n, k, device=random.device)
    rough = random.log_uniform(0.02, 0.45, n, k)
    fine = random.log_uniform(0.005, 0.1, n, k)
    offset = torch.zeros(n, k, device=random.device)
    exists = random.chance(0.75, n, k)
    shell = torch.zeros(n, k, device=random.device)
    inclusion = torch.zeros(n, k, dtype=torch.bool, device=random.device)
    own = torch.arange(k, device=random.device).repeat(n, 1)
    parent, group = own.clone(), own.clone()
    bend = random.normal(n, k) * 0.35 * random.chance(0.5, n, k)
    exponent = random.uniform(1.6, 3.2, n, k)
    angle = random.uniform(0, 6.2832, n, k)

    # A main object near the frame's middle, as in frames zoomed on a structure: span 0.25-0.7 of the frame.
    main = ORGANS[2]
    centre[:, main] = random.uniform(-0.25, 0.25, n, 2)
    radius[:, main] = random.uniform(0.2, 0.55, n)
    exists[:, main] = True
    weight[:, list(TISSUES)] = 0.0
    rough[:, list(TISSUES)] = 0.3
    fine[:, list(TISSUES)] *= 0.5
    offset[:, list(TISSUES)] = random.uniform(-0.15, 0.3, n, len(TISSUES))

    # The body: seldom inside the frame when zoomed.
    radius[:, BODY] = torch.where(unzoomed, random.uniform(0.55, 0.95, n), random.uniform(0.9, 2.8, n))
    aspect[:, BODY] = random.uniform(1.0, 1.4, n)
    centre[:, BODY] *= torch.where(unzoomed, 0.15, 0.9)[:, None]
    rough[:, BODY] = random.uniform(0.01, 0.08, n)
    bend[:, BODY] = 0
    exists[:, BODY] = True
    parent[:, RIM] = BODY
    offset[:, RIM] = random.log_uniform(0.015, 0.2, n)

    # Organs nested in others: rings, walls, nuclei.
    for slot in ORGANS[1:]:
        nested = random.chance(0.3, n) & exists[:, slot - 1]
        if slot == main:
            nested &= False
        parent[:, slot] = torch.where(nested, slot - 1, parent[:, slot])
        offset[:, slot] = torch.where(nested, random.log_uniform(0.03, 0.25, n), offset[:, slot])
    # Two shapes with one label: paired or repeated structures.
    for slot in ORGANS[1:]:
        shared = random.chance(0.1, n)
        group[:, slot] = torch.where(shared, group[:, slot - 1], group[:, slot])
    thin = random.chance(0.03, n, len(ORGANS))
    shell[:, list(ORGANS)] = thin * random.log_uniform(0.012, 0.06, n, len(ORGANS))
    _wrap(random, parent, offset, exists, shell, group)
    shell[:, list(SHEETS)] = random.log_uniform(0.008, 0.04, n, 1)
    radius[:, list(SHEETS)] = random.uniform(0.4, 1.6, n, 1)
    inclusion[:, list(SPECKS)] = True
    weight[:, list(SPECKS)] = 0.0
    offset[:, list(SPECKS)] = random.uniform(0.25, 0.6, n, len(SPECKS))
    parent_specks = random.integers(ORGANS[0], ORGANS[-1] + 1, n, len(SPECKS))
    parent_specks = parent_specks.masked_fill(random.chance(0.5, n, len(SPECKS)), main)
    exists[:, list(SPECKS)] = random.chance(0.45, n, len(SPECKS))

    shrink = torch.where(unzoomed, 0.55, 1.0)[:, None]
    organs = list(ORGANS + TUBES + SHEETS)
    radius[:, organs] *= shrink
    centre[:, organs] *= torch.where(unzoomed, 0.75, 1.0)[:, None, None]

    if kind == "heart":
        _make_heart(random, centre, radius, aspect, rough, parent, offset, exists, shell, group, bend, shrink)
    elif kind == "lesion":
        exists[:, list(ORGANS)] = random.chance(0.2, n, len(ORGANS))
        exists[:, main] = True
        fine[:, main] = random.log_uniform(0.01, 0.25, n)
        rough[:, main] = random.log_uniform(0.05, 0.5, n)
        parent[:, list(ORGANS)] = torch.arange(ORGANS[0], ORGANS[-1] + 1, device=random.device)
    elif kind == "cells":
        _make_cells(random, centre, radius, aspect, rough, parent, offset, exists, shell, bend, exponent)
    elif kind == "chest":
        _make_chest(random, centre, radius, aspect, angle, parent, offset, exists, shell, group)
    elif kind == "head":
        _make_head(random, centre, radius, aspect, rough, fine, bend, exponent, parent, offset, exists, shell, group, inclusion, shrink)

    hidden = torch.zeros(n, k, dtype=torch.bool, device=random.device)
    if kind in ("anatomy", "heart"):
        _divide(random, ORGANS[1:5] if kind == "heart" else ORGANS[1:], hidden, centre, radius, parent, offset, exists, shell, group)

    gap = random.log_uniform(0.015, 0.4, n)
    still = (gap * random.uniform(1.0, 6.0, n)).clamp(max=1.2)
    levels = _cut(random, centre, radius, aspect, angle, exponent, bend, weight, rough, fine, gap, slices)
    _nest(levels, parent.where(~hidden, own), offset, fine)
    for slot in ORGANS[1:]:
        within = torch.maximum(levels[:, :, slot], levels[:, :, slot - 1])
        levels[:, :, slot] = torch.where(hidden[:, slot].view(n, 1, 1, 1), within, levels[:, :, slot])
    if random.happens(0.9) and kind != "cells":
        levels[:, :, RIM + 1 :] = torch.maximum(levels[:, :, RIM + 1 :], levels[:, :, BODY : BODY + 1])
    for column, slot in enumerate(SPECKS):
        index = parent_specks[:, column].view(-1, 1, 1, 1, 1).expand(-1, slices, 1, GRID, GRID)
        levels[:, :, slot] = torch.maximum(levels[:, :, slot], levels.gather(2, index)[:, :, 0] + 0.03)
    levels[:, :, 0] = -1
    levels.masked_fill_(~exists[:, None, :, None, None], 1.0)
    group[:, 0] = 0
    return Scene(levels, shell, inclusion, hidden, group, parent, gap, still)


def _cut(random, centre, radius, aspect, angle, exponent, bend, weight, rough, fine, gap, slices) -> torch.Tensor:
    """Level sets (n, S, K, GRID, GRID) of bent superquadrics with rough surfaces, in a smoothly deformed space."""
    n, k = radius.shape
    depth = gap[:, None] * (torch.arange(slices, device=random.device) - (slices - 1) / 2)
    axis = (torch.arange(GRID, device=random.device) + 0.5) / GRID * 2 - 1
    plane = torch.stack(torch.meshgrid(axis, axis, indexing="xy"))
    strength = random.log_uniform(0.02, 0.15, n).view(n, 1, 1, 1, 1)
    phase = (gap[:, None] * random.uniform(0.3, 2.5, n, 1)).clamp(max=0.8) * torch.arange(slices, device=random.device)
    bend_field = random.smooth((n, 2, 2), GRID, 4) + 0.4 * random.smooth((n, 2, 2), GRID, 9)
    moved = plane + strength * turn(bend_field, phase)
    moved = moved + (random.normal(n, slices, 2) * 0.15 * gap.view(n, 1, 1)).view(n, slices, 2, 1, 1)

    drift = random.normal(n, k, 2) * random.log_uniform(0.05, 0.8, n, 1, 1)
    place = centre[:, None] + depth[:, :, None, None] * drift[:, None]
    angle = angle.view(n, 1, k, 1, 1)
    x = moved[:, :, :1] - place[..., 0][..., None, None]
    y = moved[:, :, 1:] - place[..., 1][..., None, None]
    stretch = aspect.sqrt()
    size = radius.view(n, 1, k, 1, 1)
    u = (x * angle.cos() + y * angle.sin()) / (size * stretch.view(n, 1, k, 1, 1))
    v = (y * angle.cos() - x * angle.sin()) / (size / stretch.view(n, 1, k, 1, 1))
    v = v + bend.view(n, 1, k, 1, 1) * (u * u).clamp(max=4)
    tall = radius * random.log_uniform(0.7, 6.0, n, k)
    middle = tall * random.uniform(-0.8, 0.8, n, k)
    middle[:, [BODY, RIM]] *= 0.1
    tall[:, [BODY, RIM]] *= 3
    w = ((depth[:, :, None] - middle[:, None]) / tall[:, None])[..., None, None]
    power = exponent.view(n, 1, k, 1, 1)
    reach = u.abs().clamp(1e-3, 30) ** power + v.abs().clamp(1e-3, 30) ** power + w.abs().clamp(1e-3, 30) ** power
    reach = reach ** (1 / power)

    coarse_phase = depth / 1.0 * random.uniform(0.5, 3.0, n, 1)
    fine_phase = (depth * random.uniform(2.0, 10.0, n, 1)).clamp(-1.0, 1.0)
    surface = rough.view(n, 1, k, 1, 1) * turn(random.smooth((n, 2, k), GRID, 5), coarse_phase)
    surface = surface + fine.view(n, 1, k, 1, 1) * turn(random.smooth((n, 2, k), GRID, 16), fine_phase)
    scale = (radius / stretch).view(n, 1, k, 1, 1)
    solid = scale * (reach - 1 + surface)
    return torch.where(weight.view(n, 1, k, 1, 1) > 0, solid, surface)


def _nest(levels: torch.Tensor, parent: torch.Tensor, offset: torch.Tensor, fine: torch.Tensor) -> None:
    """Replace nested shapes by their parent's level set moved inwards; shift the others by their offset."""
    n, slices, k = levels.shape[:3]
    for slot in range(k):
        nested = parent[:, slot] != slot
        depth = offset[:, slot].view(n, 1, 1, 1)
        index = parent[:, slot].view(n, 1, 1, 1, 1).expand(-1, slices, 1, GRID, GRID)
        inner = levels.gather(2, index)[:, :, 0] + depth + 0.15 * levels[:, :, slot].clamp(-0.5, 0.5) * depth * 4
        levels[:, :, slot] = torch.where(nested.view(n, 1, 1, 1), inner, levels[:, :, slot] + depth)


def _divide(random, slots, hidden, centre, radius, parent, offset, exists, shell, group) -> None:
    """Let some shapes be the part of the one before that lies within their own surface, and look like it.

    An atrium ends where its veins are said to begin, a hippocampus' head where its body is: the image does not show it,
    but the slices before do.
    """
    n = len(radius)
    main = ORGANS[2]
    for slot in slots:
        if slot == main:
            continue
        before = slot - 1
        cut = random.chance(0.35 if before == main else 0.15, n) & exists[:, before] & (shell[:, before] == 0)
        angle = random.uniform(0, 6.2832, n)
        reach = radius[:, before] * random.uniform(0.4, 1.2, n)
        place = centre[:, before] + torch.stack([angle.cos(), angle.sin()], dim=1) * reach[:, None]
        hidden[:, slot] = cut
        centre[:, slot] = torch.where(cut[:, None], place, centre[:, slot])
        radius[:, slot] = torch.where(cut, radius[:, before] * random.uniform(0.6, 1.8, n), radius[:, slot])
        parent[:, slot] = torch.where(cut, before, parent[:, slot])
        offset[:, slot] = offset[:, slot].masked_fill(cut, 0)
        shell[:, slot] = shell[:, slot].masked_fill(cut, 0)
        exists[:, slot] |= cut
        group[:, slot] = torch.where(cut, slot, group[:, slot])


def _wrap(random, parent, offset, exists, shell, group) -> None:
    """Let some shapes be a thin shell on the surface of the one before, which is what they hold: skulls, cyst walls."""
    n = len(shell)
    for slot in ORGANS[1:]:
        before = slot - 1
        if slot == ORGANS[2]:  # the main object is never only a shell
            continue
        wrapped = random.chance(0.2 if before == ORGANS[2] else 0.08, n) & exists[:, before] & (shell[:, before] == 0)
        exists[:, slot] |= wrapped
        parent[:, slot] = torch.where(wrapped, before, parent[:, slot])
        offset[:, slot] = offset[:, slot].masked_fill(wrapped, 0)
        group[:, slot] = torch.where(wrapped, slot, group[:, slot])
        shell[:, slot] = torch.where(wrapped, random.log_uniform(0.012, 0.06, n), shell[:, slot])


def _make_heart(random, centre, radius, aspect, rough, parent, offset, exists, shell, group, bend, shrink) -> None:
    """A crescent (partly covered ellipse), a muscle ring and its cavity."""
    n = len(radius)
    crescent, ring, cavity = ORGANS[5], ORGANS[6], ORGANS[7]
    for slot in (crescent, ring, cavity):
        exists[:, slot], shell[:, slot], group[:, slot] = True, 0, slot
    exists[:, ORGANS[2]] = random.chance(0.3, n)
    centre[:, ring] = random.uniform(-0.3, 0.3, n, 2)
    radius[:, ring] = random.uniform(0.22, 0.5, n) * shrink[:, 0]
    aspect[:, ring] = random.uniform(1.0, 1.3, n)
    rough[:, [ring, cavity]] = random.log_uniform(0.01, 0.12, n, 2)
    bend[:, ring] = 0
    parent[:, ring], parent[:, cavity], parent[:, crescent] = ring, ring, crescent
    offset[:, ring], offset[:, crescent] = 0, 0
    offset[:, cavity] = radius[:, ring] * random.uniform(0.2, 0.5, n)
    turn_by = random.uniform(0, 6.2832, n)
    reach = radius[:, ring] * random.uniform(0.8, 1.3, n)
    centre[:, crescent, 0] = centre[:, ring, 0] + reach * turn_by.cos()
    centre[:, crescent, 1] = centre[:, ring, 1] + reach * turn_by.sin()
    radius[:, crescent] = radius[:, ring] * random.uniform(0.7, 1.2, n)
    exists[:, list(TUBES)] = random.chance(0.3, n, len(TUBES))
    exists[:, list(SHEETS)] = random.chance(0.3, n, len(SHEETS))


def _make_cells(random, centre, radius, aspect, rough, parent, offset, exists, shell, bend, exponent) -> None:
    """Round cells on a clear field; the last one has a lobed nucleus."""
    n = len(radius)
    cell, nucleus = ORGANS[6], ORGANS[7]
    slots = list(ORGANS)
    exists[:, list(TISSUES + TUBES + SHEETS) + [RIM]] = random.chance(0.1, n, len(TISSUES + TUBES + SHEETS) + 1)
    radius[:, slots] = random.uniform(0.15, 0.4, n, len(slots))
    centre[:, slots] = random.uniform(-1.2, 1.2, n, len(slots), 2)
    aspect[:, slots] = random.uniform(1.0, 1.3, n, len(slots))
    rough[:, slots] = random.log_uniform(0.02, 0.15, n, len(slots))
    shell[:, slots], bend[:, slots], exponent[:, slots] = 0, 0, 2
    parent[:, slots] = torch.arange(ORGANS[0], ORGANS[-1] + 1, device=random.device)
    offset[:, slots] = 0
    exists[:, [cell, nucleus]] = True
    centre[:, cell] = random.uniform(-0.2, 0.2, n, 2)
    radius[:, cell] = random.uniform(0.25, 0.7, n)
    centre[:, nucleus] = centre[:, cell] + random.uniform(-0.1, 0.1, n, 2) * radius[:, cell, None]
    radius[:, nucleus] = radius[:, cell] * random.uniform(0.4, 0.8, n)
    rough[:, nucleus] = random.uniform(0.1, 0.5, n)


def _make_chest(random, centre, radius, aspect, angle, parent, offset, exists, shell, group) -> None:
    """Two tall lungs left and right of the middle, with one label; heart and diaphragm cover part of them."""
    n = len(radius)
    left, right = LUNGS
    exists[:, list(ORGANS + TUBES + SHEETS)] &= random.chance(0.25, n, len(ORGANS + TUBES + SHEETS))
    radius[:, BODY] = random.uniform(0.85, 1.6, n)
    middle = random.uniform(-0.1, 0.1, n)
    for slot, side in ((left, -1), (right, 1)):
        exists[:, slot], shell[:, slot], group[:, slot] = True, 0, left
        parent[:, slot], offset[:, slot] = slot, 0
        centre[:, slot, 0] = middle + side * random.uniform(0.3, 0.5, n)
        centre[:, slot, 1] = random.uniform(-0.15, 0.15, n)
        radius[:, slot] = random.uniform(0.33, 0.5, n)
        aspect[:, slot] = random.uniform(1.3, 2.4, n)
        angle[:, slot] = 1.5708 + random.uniform(-0.15, 0.15, n)
    heart, *domes = COVERS
    for slot in COVERS:
        exists[:, slot], shell[:, slot], group[:, slot] = random.chance(0.85, n), 0, slot
        parent[:, slot], offset[:, slot], aspect[:, slot] = slot, 0, random.uniform(1.0, 1.3, n)
    centre[:, heart, 0] = middle + random.uniform(0.0, 0.2, n)
    centre[:, heart, 1] = random.uniform(0.15, 0.4, n)
    radius[:, heart] = random.uniform(0.2, 0.35, n)
    for slot, side in zip(domes, (-1, 1)):
        radius[:, slot] = random.uniform(0.4, 0.7, n)
        centre[:, slot, 0] = middle + side * random.uniform(0.35, 0.5, n)
        centre[:, slot, 1] = radius[:, slot] + random.uniform(0.25, 0.6, n)


def _make_head(random, centre, radius, aspect, rough, fine, bend, exponent, parent, offset, exists, shell, group, inclusion, shrink) -> None:
    """An oval within a thin skull; what lies in it, midline and folds, is part of it."""
    n = len(radius)
    head, skull, within = ORGANS[2], ORGANS[3], list(ORGANS[4:])
    slots = list(ORGANS)
    own = torch.arange(ORGANS[0], ORGANS[-1] + 1, device=random.device)
    parent[:, slots], group[:, slots], offset[:, slots], shell[:, slots] = own, own, 0, 0
    exists[:, list(ORGANS[:2])] = random.chance(0.4, n, 2)
    exists[:, list(TUBES + SHEETS)] = random.chance(0.2, n, len(TUBES + SHEETS))
    centre[:, head] = random.uniform(-0.3, 0.3, n, 2)
    radius[:, head] = random.uniform(0.25, 0.55, n) * shrink[:, 0]
    aspect[:, head] = random.uniform(1.0, 1.6, n)
    rough[:, head], fine[:, head] = random.log_uniform(0.005, 0.06, n), random.log_uniform(0.002, 0.02, n)
    bend[:, head], exponent[:, head] = 0, random.uniform(1.8, 2.4, n)
    parent[:, skull], exists[:, skull] = head, random.chance(0.9, n)
    shell[:, skull] = radius[:, head] * random.log_uniform(0.03, 0.14, n)
    inclusion[:, within] = True
    exists[:, within] = random.chance(0.5, n, len(within))
    centre[:, within] = centre[:, [head]] + random.uniform(-0.5, 0.5, n, len(within), 2) * radius[:, [head], None]
    radius[:, within] = radius[:, [head]] * random.log_uniform(0.08, 0.4, n, len(within))
    aspect[:, within] = random.log_uniform(1.0, 4.0, n, len(within))
