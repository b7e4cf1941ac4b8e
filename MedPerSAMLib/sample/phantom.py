"""An abdomen-like phantom: five labelled organs that start, split and end, among others that look alike.

Patient coordinates are millimetres: x to the patient's left (columns), y to the back (rows), z to the head (slices).
Every organ is an implicit shape in coordinates that a smooth random field bends; each voxel averages 2 x 2 x 3 points of
the shapes (partial volume), then gets texture, a bias field and Rician noise, as an MR scanner would give them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

LABELS = {1: "liver", 2: "spleen", 3: "right kidney", 4: "left kidney", 5: "aorta"}
COLOURS = {
    1: (0.87, 0.51, 0.40),
    2: (0.61, 0.42, 0.75),
    3: (0.96, 0.75, 0.26),
    4: (0.40, 0.74, 0.45),
    5: (0.85, 0.16, 0.24),
}
"""Red, green, blue in 0..1."""

FINE = (3, 2, 2)
"""Points per voxel along (z, y, x)."""

MATERIALS = {
    # name: (signal, amplitude of its texture)
    "air": (4, 0),
    "lung": (16, 5),
    "fat": (150, 7),
    "muscle": (68, 6),
    "visceral fat": (132, 13),
    "bowel": (92, 12),
    "bowel content": (58, 14),
    "stomach wall": (74, 5),
    "stomach content": (104, 13),
    "pancreas": (88, 11),
    "bone": (104, 9),
    "disc": (52, 5),
    "canal": (38, 4),
    "vena cava": (112, 4),
    "aorta": (126, 4),
    "liver": (98, 6),
    "liver vessel": (118, 4),
    "spleen": (84, 5),
    "cortex": (112, 7),
    "medulla": (97, 8),
    "gallbladder": (40, 4),
}
_CODE = {name: code for code, name in enumerate(MATERIALS)}
_ORGAN = {"liver": 1, "liver vessel": 1, "spleen": 2, "aorta": 5}


@dataclass(frozen=True)
class Settings:
    """How the phantom is sampled and imaged.

    Attributes:
        shape: (slices, rows, columns).
        spacing: millimetres along the same.
        noise: standard deviation of each channel of the Rician noise; organs have signals of 80 to 126.
        bias: the bias field's relative strength at its extremes.
        bend: millimetres by which shapes are bent.
    """

    shape: tuple[int, int, int] = (40, 160, 192)
    spacing: tuple[float, float, float] = (4.5, 1.5, 1.5)
    noise: float = 6.5
    bias: float = 0.22
    bend: float = 4.5


def make_phantom(seed: int = 0, settings: Settings | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Generate one phantom.

    Args:
        seed: of the bending, the bowel, textures, bias field and noise; each seed is another patient.
        settings: sampling and imaging; the stored sample's where None.

    Returns:
        The image, int16, and the labels of ``LABELS``, uint8; both (slices, rows, columns), z upwards.
    """
    settings = settings or Settings()
    random = np.random.default_rng(seed)
    anatomy = _Anatomy(random, settings.bend)
    signal, texture = (np.zeros(settings.shape, np.float32) for _ in range(2))
    labels = np.zeros(settings.shape, np.uint8)
    signals, amplitudes = (np.array([m[i] for m in MATERIALS.values()], np.float32) for i in (0, 1))
    for k in range(settings.shape[0]):
        z, y, x = _fine_points(settings, k)
        material, label = anatomy.paint(z, y, x)
        signal[k] = _voxel_mean(signals[material])
        texture[k] = _voxel_mean(amplitudes[material])
        shares = np.stack([_voxel_mean(label == value) for value in range(len(LABELS) + 1)])
        labels[k] = shares.argmax(axis=0)
    image = signal + texture * _grain(random, settings)
    image *= _bias_field(random, settings)
    noise = random.normal(0, settings.noise, (2, *settings.shape))
    return np.hypot(image + noise[0], noise[1]).round().astype(np.int16), labels


class _Anatomy:
    """The shapes of one patient."""

    def __init__(self, random: np.random.Generator, bend: float) -> None:
        # Sums of sines bend coordinates smoothly and cost little; wavelengths of 60 to 160 mm keep shapes whole.
        self._waves = [
            (random.normal(0, bend / 2, 3), random.normal(size=3), 2 * np.pi / random.uniform(60, 160), random.uniform(0, 6.3))
            for _ in range(8)
        ]
        self._bowel = np.column_stack(
            [random.uniform(60, 228, 46), random.uniform(48, 118, 46), random.uniform(-8, 92, 46), random.uniform(9, 19, 46)]
        )

    def paint(self, z: np.ndarray, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Material codes and organ labels at points; later shapes lie over earlier ones."""
        z, y, x = self._bent(z, y, x)
        material = np.full(z.shape, _CODE["air"], np.uint8)
        label = np.zeros(z.shape, np.uint8)

        def put(inside: np.ndarray, name: str, organ: int | None = None) -> None:
            material[inside] = _CODE[name]
            label[inside] = _ORGAN.get(name, 0) if organ is None else organ

        waist = 1 - 0.05 * np.cos((z - 60) / 45)
        body = _power(x, y, 144, 116, 134 * waist, 97 * waist, 2.4)
        put(body < 1, "fat")
        wall = _power(x, y, 144, 117, 121 * waist, 84 * waist, 2.3)
        put(wall < 1, "muscle")
        cavity = _power(x, y, 144, 112, 112 * waist, 74 * waist, 2.2)
        put(cavity < 1, "visceral fat")
        inner = cavity < 0.97
        for bx, by, bz, radius in self._bowel:
            distance = np.sqrt((x - bx) ** 2 + (y - by) ** 2 + 0.5 * (z - bz) ** 2)
            put(inner & (distance < radius), "bowel")
            put(inner & (distance < radius - 4), "bowel content")
        stomach = _ellipsoid(x, y, z, (192, 82, 142), (38, 34, 36))
        put(inner & (stomach < 1), "stomach wall")
        put(inner & (stomach < 0.78), "stomach content")
        pancreas_y = 118 - 14 * np.cos((x - 160) / 32)
        put((np.hypot(y - pancreas_y, z - 104 - 0.15 * (x - 150)) < 11) & (np.abs(x - 165) < 42), "pancreas")
        self._paint_spine(put, z, y, x)
        self._paint_vessels(put, z, y, x)
        self._paint_organs(put, z, y, x, inner)
        dome = 172 - 0.010 * (x - 90) ** 2 * (x < 150) - 0.006 * (x - 200) ** 2 * (x >= 150) - 0.35 * (y - 90)
        mediastinum = _power(x, y, 144, 138, 27, 44, 2) < 1
        chest = (cavity < 1) & (z > dome) & (_power(x, y, 144, 163, 24, 19, 2) > 1)
        put(chest & ~mediastinum, "lung")
        return material, label

    @staticmethod
    def _paint_spine(put, z, y, x) -> None:
        for side in (-1, 1):
            growing = np.clip((150 - z) / 90, 0, 1)
            put(_power(x, y, 144 + side * (25 + 6 * growing), 160, 8 + 9 * growing, 10 + 9 * growing, 2) < 1, "muscle")
            put(_power(x, y, 144 + side * 30, 190, 26, 13, 2.5) < 1, "muscle")
        level = np.mod(z + 6, 34)
        vertebra = _power(x, y, 144, 163, 22 - 2 * np.cos(level / 34 * 6.283), 17, 2.3) < 1
        put(vertebra, "bone")
        put(vertebra & (level < 8), "disc")
        put((np.abs(x - 144) < 5) & (y > 180) & (y < 202) & (level > 8), "bone")
        put(np.hypot(x - 144, y - 187) < 8, "canal")

    @staticmethod
    def _paint_vessels(put, z, y, x) -> None:
        put(_power(x, y, 122 + 0.04 * z, 137 - 0.05 * z, 11, 8, 2) < 1, "vena cava")
        # The aorta divides at z = 44 mm into two iliac arteries.
        apart = np.clip(44 - z, 0, None)
        for side in (-1, 1):
            radius = np.where(z > 44, 9.5 + 0.012 * (z - 44), 7.0)
            put(np.hypot(x - 154 - side * 0.62 * apart, y - 135 - 0.15 * apart) < radius, "aorta")

    @staticmethod
    def _paint_organs(put, z, y, x, inner) -> None:
        right_lobe = _ellipsoid(x, y, z, (80, 103, 118), (50, 60, 60))
        left_lobe = _ellipsoid(x, y, z, (136, 72, 124), (54, 27, 40))
        # The lobes meet high up and part below, where the gallbladder lies between them.
        liver = inner & (np.minimum(right_lobe, left_lobe) < 1)
        vessel = (np.abs(np.sin(x / 17 + z / 23)) < 0.2) & (np.abs(np.sin(y / 15 - z / 31 + x / 60)) < 0.2)
        put(liver, "liver")
        put(liver & vessel, "liver vessel")
        put(_ellipsoid(x, y, z, (112, 86, 82), (13, 17, 26)) < 1, "gallbladder")
        spleen = (_ellipsoid(x, y, z, (226, 124, 124), (26, 44, 44)) < 1) & (
            _ellipsoid(x, y, z, (196, 100, 126), (32, 38, 60)) > 1
        )
        put(inner & spleen, "spleen")
        for centre, tilt, organ in (((88, 149, 76), -0.12, 3), ((204, 149, 88), 0.12, 4)):
            side = 1 if centre[0] < 144 else -1
            px, py = x + tilt * (z - centre[2]), y - 0.10 * (z - centre[2])
            kidney = _ellipsoid(px, py, z, centre, (23, 25, 47))
            sinus = _ellipsoid(px, py, z, (centre[0] + side * 16, centre[1] - 6, centre[2]), (15, 8, 22))
            pyramids = np.sin(np.arctan2(py - centre[1], px - centre[0]) * 5 + 2 * np.sin(z / 9) + x / 11) > 0.2
            put(kidney < 1, "cortex", organ)
            put((kidney < 0.72) & (kidney > 0.3) & pyramids, "medulla", organ)
            put((kidney < 1.05) & (sinus < 1), "visceral fat")

    def _bent(self, z, y, x) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        shift = np.zeros((3, *z.shape))
        for amplitude, direction, frequency, phase in self._waves:
            direction = direction / np.linalg.norm(direction)
            wave = np.sin(frequency * (direction[0] * z + direction[1] * y + direction[2] * x) + phase)
            shift += amplitude[:, None, None, None] * wave
        return z + shift[0], y + shift[1], x + shift[2]


def _power(x, y, cx, cy, rx, ry, power) -> np.ndarray:
    """A super-ellipse in the slice: below 1 inside."""
    return np.abs((x - cx) / rx) ** power + np.abs((y - cy) / ry) ** power


def _ellipsoid(x, y, z, centre, radii) -> np.ndarray:
    """Below 1 inside; centre and radii are (x, y, z) millimetres."""
    return ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 + ((z - centre[2]) / radii[2]) ** 2


def _fine_points(settings: Settings, k: int) -> list[np.ndarray]:
    """(z, y, x) coordinates, each (3, 2 rows, 2 columns) broadcast, of the points in slice ``k``."""
    counts = (1, *settings.shape[1:])
    axes = [
        ((k if axis == 0 else 0) + (np.arange(counts[axis] * FINE[axis]) + 0.5) / FINE[axis]) * settings.spacing[axis]
        for axis in range(3)
    ]
    return np.meshgrid(*axes, indexing="ij")


def _voxel_mean(fine: np.ndarray) -> np.ndarray:
    """(3, 2 rows, 2 columns) -> (rows, columns)."""
    depth, rows, columns = fine.shape
    blocks = fine.reshape(depth, rows // FINE[1], FINE[1], columns // FINE[2], FINE[2])
    return blocks.mean(axis=(0, 2, 4), dtype=np.float32)


def _grain(random: np.random.Generator, settings: Settings) -> np.ndarray:
    """Texture of unit variance with grains of 3 and 9 mm."""
    grain = np.zeros(settings.shape)
    for millimetres, weight in ((3.0, 0.6), (9.0, 0.8)):
        layer = ndimage.gaussian_filter(random.normal(size=settings.shape), [millimetres / 2 / s for s in settings.spacing])
        grain += weight * layer / layer.std()
    return grain


def _bias_field(random: np.random.Generator, settings: Settings) -> np.ndarray:
    """A smooth gain of 1 +- bias, as of a surface coil."""
    coarse = ndimage.zoom(random.normal(size=(4, 4, 4)), [n / 4 for n in settings.shape], order=3, mode="nearest")
    coarse = ndimage.gaussian_filter(coarse, [30 / s for s in settings.spacing])
    return 1 + settings.bias * (coarse - coarse.mean()) / np.abs(coarse - coarse.mean()).max()
