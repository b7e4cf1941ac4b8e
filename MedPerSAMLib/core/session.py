"""What the structures of one volume, or the targets of one annotated image, share: computed once, used by every method."""

from __future__ import annotations

import copy
import functools
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from MedPerSAMLib.core.digest import digest
from MedPerSAMLib.core.embeddings import Embedder, EmbeddingStore
from MedPerSAMLib.core.grid import WorkingGrid
from MedPerSAMLib.core.intensity import normalise_image, normalise_volume
from MedPerSAMLib.core.sam.predictor import Predictor
from MedPerSAMLib.core.task import Volume
from MedPerSAMLib.core.warp.fields import NeighbourFields
from MedPerSAMLib.core.warp.network import WarpNetwork

if TYPE_CHECKING:
    from MedPerSAMLib.core.propagate.refiner import Calibration
    from MedPerSAMLib.core.propagate.sides import Side


class VolumeSession:
    """One volume, one frozen model, and everything computed from them that does not depend on a structure.

    Keep the session between structures and between a first result and its correction: the second run finds slices
    normalised, embeddings, neighbour fields and what the first run learned in place.

    Args:
        volume: the grey volume, slices along the first axis.
        predictor: the frozen SAM; None for methods that need none.
        warp_network: the warping network with its starting weights; None for methods that need none.
        seed: the one seed of everything random.
        model_name: names the model in the keys of a store that outlives the session.
        store: where embeddings are kept; in memory unless given.
    """

    def __init__(
        self,
        volume: Volume,
        predictor: Predictor | None = None,
        warp_network: WarpNetwork | None = None,
        seed: int = 0,
        model_name: str = "",
        store: EmbeddingStore | None = None,
    ) -> None:
        self.volume, self.predictor, self.warp_network, self.seed = volume, predictor, warp_network, seed
        self._model_name, self._store = model_name, store
        self.sides: dict[Hashable, Side] = {}
        """What runs on this volume have learned and found on each side of a structure, kept for their corrections."""
        self.calibrations: dict[Hashable, Calibration] = {}
        """How their annotated slices told them to ask and believe SAM."""

    @functools.cached_property
    def slices(self) -> np.ndarray:
        """(slices, rows, columns) float32 in 0..1."""
        return normalise_volume(self.volume.array)

    @functools.cached_property
    def grid(self) -> WorkingGrid:
        """The working grid of this volume's slices."""
        return WorkingGrid.of(self.volume.slice_shape, self.in_plane_spacing)

    @functools.cached_property
    def planes(self) -> np.ndarray:
        """(slices, working rows, working columns) float32 in 0..1."""
        return self.grid.from_native(self.slices)

    @functools.cached_property
    def fields(self) -> NeighbourFields:
        """Displacement fields between neighbouring working slices; needs a warping network."""
        return NeighbourFields(self.planes, self.warp_network, self.device)

    @functools.cached_property
    def embedder(self) -> Embedder:
        """Embeddings of this volume's slices; needs a predictor."""
        content = digest(self.volume.array) if self._store else ""
        return Embedder(self.predictor, self.slices, f"{content} {self._model_name}", self._store)

    @property
    def in_plane_spacing(self) -> tuple[float, float]:
        """Millimetres per (row, column)."""
        return self.volume.spacing[1:]

    @property
    def device(self) -> torch.device:
        """Where tensors are worked on."""
        return torch.device("cpu") if self.predictor is None else self.predictor.device


class ImageSession:
    """One annotated 2D image and the images that its mask is to be carried to.

    Args:
        image: (rows, columns) grey or (rows, columns, 3) colour.
        mask: (rows, columns) bool of the annotated image.
        targets: images of any size, grey or colour.
        predictor: the frozen SAM; None for methods that need none.
        warp_network: as for VolumeSession.
        seed: the one seed of everything random.
    """

    def __init__(
        self,
        image: np.ndarray,
        mask: np.ndarray,
        targets: Sequence[np.ndarray],
        predictor: Predictor | None = None,
        warp_network: WarpNetwork | None = None,
        seed: int = 0,
    ) -> None:
        self.image, self.mask = normalise_image(image), mask
        self.targets = [normalise_image(target) for target in targets]
        self.predictor, self.warp_network, self.seed = predictor, warp_network, seed

    def embedder(self, target: int | None) -> Embedder:
        """Embeddings of target number ``target``, or of the annotated image for None; the slice index is 0."""
        return self._embedders[len(self.targets) if target is None else target]

    def turned(self, number: int, mask: np.ndarray) -> ImageSession:
        """The way back: target ``number`` annotated by ``mask`` (rows, columns) bool, and the annotated image as the only target.

        Embeddings are shared with this session.
        """
        turned = copy.copy(self)
        turned.image, turned.mask, turned.targets = self.targets[number], mask, [self.image]
        turned._embedders = [self.embedder(None), self.embedder(number)]
        return turned

    @functools.cached_property
    def _embedders(self) -> list[Embedder]:
        return [Embedder(self.predictor, image[None]) for image in [*self.targets, self.image]]

    @property
    def device(self) -> torch.device:
        """Where tensors are worked on."""
        return torch.device("cpu") if self.predictor is None else self.predictor.device
