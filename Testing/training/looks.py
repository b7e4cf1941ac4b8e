"""Paint a scene as an image: CT-, MR-, ultrasound-, X-ray-, endoscopy-, dermoscopy- or microscopy-like.

One look belongs to one volume: intensities and textures are shared by its slices, noise is new in each.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from Testing.training.fields import Random, gaussian_blur, resize, turn
from Testing.training.shapes import (
    BODY,
    COVERS,
    LUNGS,
    ORGANS,
    RIM,
    SHEETS,
    SLOTS,
    TISSUES,
    TUBES,
    Scene,
    paint,
)
from Testing.training.surfaces import bumps, facing_the_beam, tube_ahead

FRAME = 256  # pixels along a side of a finished frame
PRESETS = {  # share of each modality among the volumes, and the scene kinds it shows
    "ct": (0.25, {"anatomy": 0.9, "lesion": 0.1}),
    "mr": (0.34, {"anatomy": 0.57, "heart": 0.33, "lesion": 0.07, "head": 0.03}),
    "us": (0.15, {"lesion": 0.4, "head": 0.3, "anatomy": 0.2, "heart": 0.1}),
    "xray": (0.08, {"chest": 0.8, "anatomy": 0.2}),
    "endoscopy": (0.08, {"lesion": 0.8, "anatomy": 0.2}),
    "skin": (0.05, {"lesion": 1.0}),
    "cells": (0.05, {"cells": 1.0}),
}
SIDES = {  # native pixels across the frame, before it is enlarged to FRAME
    "ct": [48, 64, 80, 96, 128, 160, 192, 256],
    "mr": [24, 32, 40, 48, 64, 80, 96, 128, 160, 192, 256],
    "us": [128, 160, 192, 256],
    "xray": [128, 192, 256],
    "endoscopy": [96, 128, 192, 256],
    "skin": [128, 192, 256],
    "cells": [64, 96, 128],
}


@dataclass(frozen=True)
class Look:
    """How the shapes of n volumes appear.

    Attributes:
        colour: (n, K, C) mean of each shape, C = 1 grey or 3.
        texture: (n, K, 2) strength of the two textures in each shape.
        edge: (n, K) brightening (or darkening) along each shape's inner border.
        edge_width: (n,) its width in frame half-widths.
        fields: (n, 2, 2, side, side) two depth bases of the two textures.
    """

    colour: torch.Tensor
    texture: torch.Tensor
    edge: torch.Tensor
    edge_width: torch.Tensor
    fields: torch.Tensor


def render(random: Random, scene: Scene, preset: str, side: int) -> torch.Tensor:
    """Frames (n, S, C, FRAME, FRAME) in 0..1 with C = 1, or 3 for colour presets, of native resolution ``side``."""
    return shade(random, scene, draw_look(random, scene, preset, side), preset, side)


def draw_look(random: Random, scene: Scene, preset: str, side: int) -> Look:
    """Draw the looks of a scene's volumes."""
    count = len(scene.group)
    colour = _colours(random, scene, preset)
    # Shapes of one label look alike: two lungs, repeated lesions.
    colour = colour.gather(1, scene.group[..., None].expand_as(colour))
    calm = random.log_uniform(0.004, 0.045, count, 1, 1)
    texture = calm * random.log_uniform(0.3, 2.0, count, SLOTS, 2)
    texture[:, 0] *= 0.1
    if preset in ("us", "endoscopy", "mr"):
        texture = texture * 1.4
    if preset == "us":
        texture = texture * random.log_uniform(1.0, 5.0, count, 1, 1)
    strength = {"us": 0.3, "endoscopy": 0.15, "cells": 0.12, "skin": 0.1}.get(preset, 0.1)
    edge = random.normal(count, SLOTS) * strength * random.chance(0.25, count, SLOTS)
    if preset == "us":
        edge = edge.abs()
    cells = [c for c in (4, 8, 16, 32, 64) if c < side // 2]
    slope = random.uniform(0.1, 1.1, count, 1, 2, 1, 1)
    total = 0
    for octave, number in enumerate(cells):
        part = random.smooth((count, 2, 2), side, number)
        total = total + part * torch.exp(-slope * octave) * random.uniform(0.3, 1.5, count, 1, 2, 1, 1)
    if preset == "us" and random.happens(0.5):  # layers across the beam
        total = F.interpolate(total[..., : side // 4].flatten(0, 1), (side, side), mode="bilinear").view_as(total)
    total = total / total.std((-1, -2), keepdim=True)
    return Look(colour, texture, edge, random.log_uniform(0.01, 0.06, count), total)


def _colours(random: Random, scene: Scene, preset: str) -> torch.Tensor:
    """Mean (n, K, C) of every shape."""
    n = len(scene.group)
    values = random.uniform(0, 1, n, SLOTS)
    if preset in ("ct", "xray"):
        soft = random.uniform(0.35, 0.65, n, 1)
        spread = random.log_uniform(0.02, 0.3, n, 1)
        values = soft + spread * random.uniform(-1, 1, n, SLOTS)
        odd = random.chance(0.12, n, SLOTS)
        values = torch.where(odd, random.uniform(0, 1, n, SLOTS), values)
        fat = soft[:, 0] - random.uniform(0.08, 0.35, n)
        values[:, BODY] = fat
        values[:, RIM] = torch.where(random.chance(0.5, n), fat, values[:, RIM])
        values[:, TISSUES[0]] = torch.where(random.chance(0.4, n), fat, values[:, TISSUES[0]])
        values[:, list(SHEETS)] = torch.where(random.chance(0.4, n, 1), random.uniform(0.7, 1, n, 1), fat[:, None])
        values[:, list(TUBES[1:])] = torch.where(random.chance(0.5, n, 1), soft + random.uniform(0, 0.4, n, 1), soft)
    elif preset == "mr":
        # Intensities cluster, so that neighbours are often alike.
        level = random.uniform(0.15, 0.7, n, 1)
        spread = random.log_uniform(0.03, 0.4, n, 1)
        near = level + spread * random.uniform(-1, 1, n, SLOTS)
        values = torch.where(random.chance(0.7, n, SLOTS), near, values)
    elif preset == "us":
        level = random.uniform(0.2, 0.55, n, 1)
        near = level + random.log_uniform(0.04, 0.3, n, 1) * random.uniform(-1, 1, n, SLOTS)
        values = torch.where(random.chance(0.75, n, SLOTS), near, values * 0.9)
        lesion = random.uniform(0.0, 0.3, n, 1)
        organs = list(ORGANS)
        values[:, organs] = torch.where(random.chance(0.5, n, len(organs)), lesion, values[:, organs])
    main = list(ORGANS)
    low = random.chance(0.25, n, len(main))
    shift = random.uniform(0.03, 0.09, n, len(main)) * torch.where(random.chance(0.5, n, len(main)), 1, -1)
    around = values[:, [m - 1 for m in main]]
    values[:, main] = torch.where(low, around + shift, values[:, main])
    air = random.chance(0.7 if preset != "cells" else 0.0, n)
    values[:, 0] = torch.where(air, random.uniform(0, 0.06, n), values[:, 0])
    if preset == "us":
        values = torch.where(scene.shell > 0, random.uniform(0.6, 1.05, n, 1), values)
    if preset == "xray":
        values[:, list(LUNGS)] = values[:, [BODY]] - random.uniform(0.1, 0.4, n, 1)
        values[:, list(COVERS)] = values[:, [BODY]] + random.uniform(-0.03, 0.25, n, len(COVERS))
    values = values.clamp(0, 1.05)
    if preset in ("endoscopy", "skin", "cells"):
        return _tint(random, values, preset)
    return values[..., None]


def _tint(random: Random, values: torch.Tensor, preset: str) -> torch.Tensor:
    """Grey means (n, K) -> colours (n, K, 3) around one hue per volume."""
    n = len(values)
    base = {
        "endoscopy": torch.tensor([0.75, 0.42, 0.25]),
        "skin": torch.tensor([0.8, 0.6, 0.48]),
        "cells": torch.tensor([0.95, 0.9, 0.75]),
    }[preset].to(values.device)
    base = base + 0.1 * random.normal(n, 1, 3)
    own = random.uniform(-1, 1, n, SLOTS, 3)
    if preset == "endoscopy":
        spread = random.log_uniform(0.03, 0.2, n, 1, 1)
        colour = base * (1 + spread * 2 * (values[..., None] - 0.5)) + 0.25 * spread * own
    elif preset == "skin":
        colour = base + 0.04 * own
        dark = random.uniform(0.25, 0.9, n, len(ORGANS), 1)
        colour[:, list(ORGANS)] = colour[:, list(ORGANS)] * dark + 0.03 * own[:, list(ORGANS)]
        colour[:, [0, *TISSUES]] = base + 0.04 * own[:, [0, *TISSUES]]
    else:
        body = base * random.uniform(0.6, 1.0, n, SLOTS, 3)
        colour = base.expand(-1, SLOTS, -1).clone()
        colour[:, list(ORGANS)] = body[:, list(ORGANS)]
        nucleus = torch.tensor([0.4, 0.15, 0.5], device=values.device) + 0.12 * random.normal(n, 3)
        colour[:, ORGANS[7]] = nucleus
    return colour.clamp(0, 1)


def shade(random: Random, scene: Scene, look: Look, preset: str, side: int) -> torch.Tensor:
    """Frames (n, S, C, FRAME, FRAME) in 0..1 of a scene in a look."""
    fine = side * max(1, -(-128 // side))
    levels = scene.at(fine)
    slots = paint(levels, ~scene.hidden)
    n, slices = slots.shape[:2]
    flat = slots + torch.arange(n, device=slots.device).view(-1, 1, 1, 1) * SLOTS

    image = look.colour.flatten(0, 1)[flat].movedim(-1, 2)
    depth = levels.gather(2, slots[:, :, None])[:, :, 0].float()
    rim = torch.exp(-((depth / look.edge_width.view(n, 1, 1, 1)) ** 2)) * look.edge.flatten()[flat]
    if preset == "us":
        seen = facing_the_beam(random, scene, slots)
        beneath = paint(levels, ~scene.hidden & (scene.shell <= 0)) + flat - slots
        under = look.colour.flatten(0, 1)[beneath].movedim(-1, 2)
        image = under + (image - under) * seen[:, :, None]
        rim = rim * seen
    if preset == "endoscopy":
        image = image * (bumps(random, scene, slots, depth) * tube_ahead(random, n, fine))[:, :, None]
    phase = scene.still[:, None] * torch.arange(slices, device=slots.device)
    strength = look.texture.flatten(0, 1)[flat].movedim(-1, 2)
    if fine != side:
        image, rim, strength = (F.avg_pool2d(v.flatten(0, -3), fine // side).view(*v.shape[:-2], side, side)
                                for v in (image, rim, strength))
    textures = turn(look.fields, phase)
    image = image + (rim + (strength * textures).sum(2))[:, :, None]
    image = gaussian_blur(image, random.choice([0.3, 0.5, 0.7, 1.0, 1.4]) * max(0.7, side / 160))
    image = _acquire(random, image, preset, side)
    if random.happens(0.3):
        image = _each_its_own(random, image)
    image = resize(image.clamp(0, 1), FRAME)
    return _border(random, image, preset)


def _each_its_own(random: Random, image: torch.Tensor) -> torch.Tensor:
    """Gain, tint and tone of each slice by itself, as those of two pictures are."""
    n, slices, channels = image.shape[:3]
    gain = random.uniform(0.7, 1.3, n, slices, 1, 1, 1) * random.uniform(0.9, 1.1, n, slices, channels, 1, 1)
    return (gain * image).clamp(min=0) ** random.log_uniform(0.75, 1.35, n, slices, 1, 1, 1)


def _acquire(random: Random, image: torch.Tensor, preset: str, side: int) -> torch.Tensor:
    """Bias, noise, tone curve and the artefacts of a modality, at native resolution (n, S, C, side, side)."""
    n, slices = image.shape[:2]
    one = (n, 1, 1, 1, 1)
    if preset == "us":
        image = _ultrasound(random, image, side)
    if preset in ("mr", "us", "endoscopy", "skin", "cells"):
        strength = random.log_uniform(0.03, 0.4, *one)
        image = image * torch.exp(strength * random.smooth((n, 1, 1), side, 1))
    if preset == "endoscopy":
        image = _highlights(random, image, side)
    if preset == "skin":
        image = _hairs(random, image, side)
    if preset == "xray":
        image = 0.5 * image + 0.5 * _ribs(random, n, side)
    image = _stretch(random, image)
    image = image.clamp(min=0) ** random.log_uniform(0.65, 1.5, *one)

    level = random.log_uniform(0.004, 0.1 if preset in ("ct", "mr") else 0.03, *one)
    noise = random.normal(n, slices, image.shape[2], side, side)
    if random.happens(0.4):
        noise = gaussian_blur(noise, random.scalar(0.4, 1.2))
        noise = noise / noise.std()
    if preset == "mr" and random.happens(0.5):
        second = random.normal(n, slices, image.shape[2], side, side)
        return ((image + level * noise) ** 2 + (level * second) ** 2).sqrt()
    image = image + level * noise
    if preset == "ct" and random.happens(0.2):
        image = image + _streaks(random, n, side)
    return image


def _stretch(random: Random, image: torch.Tensor) -> torch.Tensor:
    """Spread the grey range of most volumes over most of 0..1, as the percentiles of a whole volume do."""
    n = len(image)
    one = (n, 1, 1, 1, 1)
    flat = image.flatten(1)[:, ::7].sort(dim=1).values
    low, high = flat[:, flat.shape[1] // 100].view(one), flat[:, -flat.shape[1] // 100].view(one)
    floor = random.uniform(0, 0.25, *one) * random.chance(0.6, *one)
    top = random.uniform(0.5, 1.1, *one)
    spread = floor + (image - low) / (high - low).clamp(min=0.12) * (top - floor)
    plain = image * random.uniform(0.75, 1.15, *one) + random.uniform(-0.05, 0.08, *one)
    return torch.where(random.chance(0.75, *one), spread, plain)


def _ultrasound(random: Random, image: torch.Tensor, side: int) -> torch.Tensor:
    """Correlated multiplicative speckle, depth attenuation and shadows."""
    n, slices = image.shape[:2]
    grain = (random.scalar(0.3, 0.9) * side / 128, random.scalar(0.5, 1.8) * side / 128)
    waves = gaussian_blur(random.normal(n, slices, 2, side, side), grain)
    speckle = waves.pow(2).sum(2, keepdim=True).sqrt()
    speckle = speckle / speckle.mean((-1, -2), keepdim=True)
    image = image * speckle ** random.uniform(0.3, 0.9, n, 1, 1, 1, 1)
    rows = torch.linspace(0, 1, side, device=image.device).view(-1, 1)
    image = image * torch.exp(-random.uniform(-0.3, 1.0, n, 1, 1, 1, 1) * rows)
    shadow = torch.sigmoid(6 * (random.smooth((n, 1, 1), side, 5)[..., :1, :] - random.uniform(0.8, 2.5, n, 1, 1, 1, 1)))
    below = torch.sigmoid(15 * (rows - random.uniform(0.1, 0.8, n, 1, 1, 1, 1)))
    return image * (1 - 0.8 * shadow * below)


def _highlights(random: Random, image: torch.Tensor, side: int) -> torch.Tensor:
    """Light that falls off from a centre, folds lit from one side, and specular spots."""
    n = len(image)
    axis = torch.linspace(-1, 1, side, device=image.device)
    centre = random.uniform(-0.6, 0.6, n, 2)
    square = (axis.view(1, -1, 1) - centre[:, :1, None]) ** 2 + (axis.view(1, 1, -1) - centre[:, 1:, None]) ** 2
    light = torch.exp(-random.uniform(0.1, 0.9, n, 1, 1) * square) * random.uniform(0.9, 1.4, n, 1, 1)
    folds = 1 + random.uniform(0, 0.25, n, 1, 1) * random.smooth((n,), side, 5)
    image = image * (light * folds).view(n, 1, 1, side, side)
    spots = torch.sigmoid(12 * (random.smooth((n,), side, 22) - random.uniform(2.2, 3.5, n, 1, 1)))
    return image + (0.9 * spots).view(n, 1, 1, side, side)


def _hairs(random: Random, image: torch.Tensor, side: int) -> torch.Tensor:
    """Thin dark curves and dark frame corners."""
    n = len(image)
    curves = random.smooth((n, 3), side, 3) + 3 * random.normal(n, 3, 1, 1)
    slope = (curves[..., 1:, :-1] - curves[..., :-1, :-1]).abs() + (curves[..., :-1, 1:] - curves[..., :-1, :-1]).abs()
    distance = curves / F.pad(slope, (0, 1, 0, 1), mode="replicate").clamp(min=0.01)
    dark = torch.exp(-((distance / (0.006 * side)) ** 2)).amax(1) * random.chance(0.5, n, 1, 1)
    axis = torch.linspace(-1, 1, side, device=image.device)
    radius = (axis.view(-1, 1) ** 2 + axis.view(1, -1) ** 2).sqrt()
    vignette = torch.sigmoid(10 * (radius - random.uniform(1.05, 1.8, n, 1, 1)))
    return image * (1 - 0.8 * dark).view(n, 1, 1, side, side) * (1 - vignette).view(n, 1, 1, side, side)


def _ribs(random: Random, n: int, side: int) -> torch.Tensor:
    """Bright bent bands that overlay the picture."""
    axis = torch.linspace(-1, 1, side, device=random.device)
    phase = axis.view(-1, 1) * 8 + 2 * axis.view(1, -1) ** 2 * random.uniform(-2, 2, n, 1, 1)
    bands = torch.sin(phase * random.uniform(1.5, 3, n, 1, 1) + random.uniform(0, 6, n, 1, 1))
    return (0.5 + random.uniform(0, 0.1, n, 1, 1) * bands + 0.1 * random.smooth((n,), side, 3)).view(n, 1, 1, side, side)


def _streaks(random: Random, n: int, side: int) -> torch.Tensor:
    """Rays that leave one point."""
    axis = torch.linspace(-1, 1, side, device=random.device)
    centre = random.uniform(-1, 1, n, 2)
    angle = torch.atan2(axis.view(1, -1, 1) - centre[:, :1, None], axis.view(1, 1, -1) - centre[:, 1:, None])
    total = 0
    for frequency in (9, 17, 31):
        total = total + torch.sin(frequency * angle + random.uniform(0, 6, n, 1, 1)) * random.uniform(0, 1, n, 1, 1)
    return (total * random.log_uniform(0.005, 0.04, n, 1, 1)).view(n, 1, 1, side, side)


def _border(random: Random, image: torch.Tensor, preset: str) -> torch.Tensor:
    """Black beyond the slice (padding), outside an ultrasound fan or an endoscope's window."""
    n = len(image)
    axis = torch.linspace(-1, 1, FRAME, device=image.device)
    if random.happens(0.25):
        low, high = random.uniform(-1.6, -0.55, n, 2), random.uniform(0.55, 1.6, n, 2)
        rows = (axis > low[:, :1]) & (axis < high[:, :1])
        columns = (axis > low[:, 1:]) & (axis < high[:, 1:])
        keep = rows[:, :, None] & columns[:, None, :]
        if preset == "endoscopy":
            keep &= (axis.view(-1, 1).abs() + axis.view(1, -1).abs()) < random.uniform(1.2, 1.8, n, 1, 1)
        image = image * keep.view(n, 1, 1, FRAME, FRAME)
    if preset == "us" and random.happens(0.3):
        apex = random.uniform(-2.5, -1.1, n, 1, 1)
        spread = axis.view(1, 1, -1).abs() / (axis.view(1, -1, 1) - apex).clamp(min=0.01)
        fan = (spread < random.uniform(0.45, 0.9, n, 1, 1)) & ((axis.view(1, -1, 1) - apex) < -apex + 0.95)
        image = image * fan.view(n, 1, 1, FRAME, FRAME)
    return image


def draw_preset(random: Random) -> tuple[str, str, int]:
    """A preset, the scene kind it shows and a native resolution."""
    preset = random.choice(list(PRESETS), [share for share, _ in PRESETS.values()])
    kinds = PRESETS[preset][1]
    return preset, random.choice(list(kinds), list(kinds.values())), random.choice(SIDES[preset])
