"""Displacement fields between neighbouring slices of a volume, computed as batches when they are needed, and kept."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch
from scipy import ndimage

from MedPerSAMLib.core.features import window_around
from MedPerSAMLib.core.frame import Frame
from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.core.warp.network import WarpNetwork
from MedPerSAMLib.core.warp.polish import polished
from MedPerSAMLib.core.warp.tune import Pair, TuneSettings, tune

BATCH = 8
"""Pairs that the network takes at once."""
_LEAST_SIDE, _MOST_SIDE, _MULTIPLE = 96, 192, 16
_PASSES = 6
"""At most: six passes on at most 192 pixels carried neighbours' masks as well as ten on 256, in under a third of the time."""

SETTLED = 2.0
"""Frame pixels, less than the network's own figure, because structures are smaller in whole slices than in the frames that it was
chosen on. [I] By little the best on generated abdomens (``Testing.benchmarks.pass_limit``)."""

POLISH = 10
"""Demons iterations after the network."""


class NeighbourFields:
    """Carries masks from a slice to the next or the previous one.

    Args:
        planes: (slices, rows, columns) float32 in 0..1, the working slices.
        network: the warping network.
        device: where the network runs.
        polish: demons iterations that each field is refined by; 0 leaves the network's.
        settled: frame pixels; a pass that moves none farther is a pair's last.
    """

    def __init__(
        self,
        planes: np.ndarray,
        network: WarpNetwork,
        device: torch.device,
        polish: int = POLISH,
        settled: float = SETTLED,
    ) -> None:
        self._planes, self._device, self._polish = planes, device, polish
        self.network = copy.copy(network.to(device))
        passes, settled = min(_PASSES, network.config.passes), min(settled, network.config.settled)
        self.network.config = replace(network.config, passes=passes, settled=settled)
        longest = max(planes.shape[1:])
        side = int(np.clip(-(-longest // _MULTIPLE) * _MULTIPLE, _LEAST_SIDE, _MOST_SIDE))
        self._frame = Frame.full(planes.shape[1:], (1.0, 1.0), side)
        self._kept: dict[tuple[int, int], np.ndarray] = {}

    def has(self, pairs: Sequence[tuple[int, int]]) -> bool:
        """Whether the fields of all (source, target) pairs are there."""
        return all(pair in self._kept for pair in pairs)

    def prepare(self, pairs: Sequence[tuple[int, int]], progress: Progress) -> None:
        """Compute the fields of all (source, target) pairs that are not there yet."""
        missing = [pair for pair in dict.fromkeys(pairs) if pair not in self._kept]
        for start in range(0, len(missing), BATCH):
            progress.step("matching neighbouring slices", start, len(missing))
            part = missing[start : start + BATCH]
            with torch.inference_mode():
                moving, fixed = (self._frames([pair[side] for pair in part]) for side in (0, 1))
                fields = self._to_pixels(self.network(moving, fixed).float().cpu())
            with ThreadPoolExecutor(torch.get_num_threads()) as pool:
                for pair, field in zip(part, pool.map(self._polished, part, fields)):
                    self._kept[pair] = field.astype(np.float16)
                    progress.step("matching neighbouring slices", start, len(missing))

    def carry(self, soft: np.ndarray, source: int, target: int) -> np.ndarray:
        """A (rows, columns) float image that lies on slice ``source``, warped onto the neighbouring slice ``target``."""
        if (source, target) not in self._kept:
            self.prepare([(source, target)], Progress())
        field = self._kept[source, target]
        carried = np.zeros(soft.shape, np.float32)
        if not np.any(soft):
            return carried
        # Nothing moves farther than the field's largest displacement, so only that neighbourhood is computed.
        window = window_around(soft > 0, int(np.ceil(np.abs(field).max())) + 2)
        rows, columns = np.mgrid[window].astype(np.float32)
        places = [rows + field[1][window], columns + field[0][window]]
        carried[window] = ndimage.map_coordinates(np.asarray(soft, np.float32), places, order=1, mode="nearest")
        return carried

    def _polished(self, pair: tuple[int, int], field: np.ndarray) -> np.ndarray:
        if not self._polish:
            return field
        return polished(self._planes[pair[0]], self._planes[pair[1]], field, self._polish)

    def _to_pixels(self, fields: torch.Tensor) -> np.ndarray:
        """Fields (B, 2, f, f) in half-widths of the square frame -> (B, 2, rows, columns), (x, y) in working pixels."""
        side = self._frame.size * self._frame.step[0]
        return (self._frame.restore(fields, self._planes.shape[1:], 0.0) * (side / 2)).numpy()

    def tuned(
        self,
        pairs: Sequence[tuple[int, int]],
        annotated: Mapping[int, np.ndarray],
        refined: Mapping[int, tuple[np.ndarray, float]],
        settings: TuneSettings,
        seed: int,
        progress: Progress,
    ) -> NeighbourFields:
        """Fields of a copy of the network that is trained on this volume's slices.

        Args:
            pairs: (source, target) slices that teach by their images.
            annotated: annotated slice -> (rows, columns) bool, for L_aug.
            refined: slice -> its (rows, columns) bool mask and the trust in it, 0..1; pairs of two such slices also teach
                by their masks, weighted by the lesser trust.
            settings: how long.
            seed: of the draws.
            progress: told of each step.
        """
        known = {**refined, **{index: (mask, 1.0) for index, mask in annotated.items()}}
        frames = dict(zip(range(len(self._planes)), self._frames(list(range(len(self._planes)))).split(1)))
        masks = {index: self._frame.sample(_image(mask)).to(self._device) for index, (mask, _) in known.items()}
        lessons = [
            Pair(frames[a], frames[b], masks.get(a), masks.get(b), min(known[a][1], known[b][1]))
            if a in known and b in known
            else Pair(frames[a], frames[b])
            for a, b in pairs
        ]
        network = tune(self.network, lessons, [(frames[i], masks[i]) for i in annotated], settings, seed, progress)
        return NeighbourFields(self._planes, network, self._device, self._polish, self.network.config.settled)

    def _frames(self, indices: list[int]) -> torch.Tensor:
        stack = torch.from_numpy(np.ascontiguousarray(self._planes[indices]))[:, None]
        return self._frame.sample(stack).to(self._device)


def _image(plane: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(plane, np.float32))[None, None]
