"""Where in another image a structure lies, by SAM's features: the place whose surroundings are embedded most alike.

The annotated structure and its close surroundings, as a window of the frozen encoder's embedding, are laid over every place of the
target's embedding. Unlike single features, whose best match is often another structure of the same looks (METHOD.md section 2), a
window keeps their arrangement: a left ventricle is bright inside a dark ring, beside a bright crescent. [I]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional as F

from MedPerSAMLib.core.appearance import radius
from MedPerSAMLib.core.embeddings import Embedder
from MedPerSAMLib.core.frame import Frame


@dataclass(frozen=True)
class LikenessSettings:
    """How windows are compared.

    Attributes:
        reach: half side of the window in radii of the structure.
        scales: sizes of the structure relative to the annotated one.
        stay: cosine lost for a shift by the longer side of the image; grows with the square of the shift.
        keep_size: cosine lost per squared natural logarithm of the scale.
    """

    reach: float = 1.2
    scales: tuple[float, ...] = (0.8, 1.0, 1.25)
    stay: float = 1.0
    keep_size: float = 0.5


@dataclass(frozen=True)
class Window:
    """The annotated structure's window at one size.

    Attributes:
        scale: size of the structure relative to the annotated one.
        features: (C, w, w), unit vectors around the mean of their image.
    """

    scale: float
    features: torch.Tensor


def image_features(embedder: Embedder, frame: Frame, shape: tuple[int, int]) -> torch.Tensor:
    """(C, e, e) unit vectors of what differs from the mean of a (rows, columns) image; zero in cells beyond the image."""
    embedding = embedder.embed([0], frame)[0]
    inside = frame.sample(torch.ones(1, 1, *shape, device=embedding.device))
    shown = (F.adaptive_avg_pool2d(inside, embedding.shape[-1])[0] > 0.5).float()
    mean = (embedding * shown).sum((1, 2), keepdim=True) / shown.sum().clamp(min=1)
    return F.normalize(embedding - mean, dim=0) * shown


def annotated_windows(embedder: Embedder, mask: np.ndarray, size: int, settings: LikenessSettings) -> list[Window]:
    """The windows of the structure in an annotated image of which ``mask`` (rows, columns) bool is not empty.

    Args:
        embedder: of the annotated image, its index 0.
        mask: the structure.
        size: pixels along the side of the model's frames.
        settings: how far windows reach, and their sizes.
    """
    centre = tuple(np.argwhere(mask).mean(axis=0) + 0.5)
    windows = []
    for scale in settings.scales:
        side = max(mask.shape) / scale
        frame = Frame.around(centre, side, (1.0, 1.0), size)
        features = image_features(embedder, frame, mask.shape)
        cells = features.shape[-1]
        half = min(cells // 2 - 1, max(1, round(settings.reach * radius(mask) / side * cells)))
        # The structure's centre is the frame's, which lies between four cells.
        offsets = torch.arange(-half, half + 1, dtype=torch.float32, device=features.device) * 2 / cells
        places = torch.stack(torch.meshgrid(offsets, offsets, indexing="ij")[::-1], dim=-1)
        windows.append(Window(scale, F.grid_sample(features[None], places[None], align_corners=False)[0]))
    return windows


class Likeness:
    """How much each place of a target looks like the annotated structure and its surroundings.

    Args:
        windows: the annotated structure at several sizes.
        target: (C, e, e) features of the target's full frame, from :func:`image_features`.
        shape: (rows, columns) of the target's working grid, whose longer side the embedding spans.
        expected: (row, column) of the structure's centre on that grid if nothing had moved.
        settings: how windows are compared.
    """

    def __init__(
        self,
        windows: Sequence[Window],
        target: torch.Tensor,
        shape: tuple[int, int],
        expected: tuple[float, float],
        settings: LikenessSettings,
    ) -> None:
        self._pixels = max(shape) / target.shape[-1]
        rows, columns = np.mgrid[: shape[0], : shape[1]]
        away = ((rows - expected[0]) ** 2 + (columns - expected[1]) ** 2) / max(shape) ** 2
        self._maps = []
        for window in windows:
            half = window.features.shape[-1] // 2
            padded = F.pad(target, (half, half, half, half))[None]
            # Cosines of cells beyond the target's border count as 0: there nothing speaks for the place.
            cosine = F.conv2d(padded, window.features[None])[0, 0] / window.features.square().sum().clamp(min=1)
            places = [(axis + 0.5) / self._pixels - 0.5 for axis in (rows, columns)]
            fine = ndimage.map_coordinates(cosine.cpu().numpy(), places, order=2, mode="nearest")
            self._maps.append(fine - settings.stay * away - settings.keep_size * np.log(window.scale) ** 2)
        self._scales = [window.scale for window in windows]

    def best(self) -> tuple[tuple[int, int], float]:
        """(row, column) of the best place on the working grid, and the structure's size there, relative to the annotated one."""
        number = int(np.argmax([found.max() for found in self._maps]))
        row, column = np.unravel_index(np.argmax(self._maps[number]), self._maps[number].shape)
        return (int(row), int(column)), self._scales[number]

    def at(self, mask: np.ndarray) -> float:
        """How alike the place of a non-empty (rows, columns) mask is: from 0, as most places are, to 1, the best one."""
        row, column = np.round(np.argwhere(mask).mean(axis=0)).astype(int)
        found = np.max(self._maps, axis=0)
        common = float(np.median(found))
        return float(np.clip((found[row, column] - common) / max(found.max() - common, 1e-6), 0, 1))
