"""Numbered groups of generated images, drawn ahead of their use in a thread of their own on a CUDA device."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields

import torch

from MedPerSAMLib.core.warp.network import WarpNetwork
from Testing.training.fields import Random
from Testing.training.samples import Images, draw_images

_AHEAD = 4  # groups kept ready


class Source:
    """Groups of one preset each; group ``n`` depends on the seed and on n only.

    Args:
        seed: of all groups.
        first: number of the first group.
        stride: step from each group's number to the next one's, so that several workers never draw the same.
        warper: carries each neighbour onto its image.
        volumes: of a group; two images each.
        device: where they are drawn. On CUDA a thread does it on a stream of its own, so that drawing and training
            overlap.
    """

    def __init__(self, seed: int, first: int, stride: int, warper: WarpNetwork, volumes: int, device: str) -> None:
        self._seed, self._number, self._stride = seed, first, stride
        self._warper, self._volumes, self._device = warper, volumes, device
        self._worker, self._ready = None, deque()
        if torch.device(device).type == "cuda":
            # Higher priority: its kernels are small, and each of its waits is for them alone.
            self._stream = torch.cuda.Stream(priority=-1)
            self._worker = ThreadPoolExecutor(1)
            self._ready.extend(self._worker.submit(self._draw_on_stream) for _ in range(_AHEAD))

    def next(self) -> Images:
        """The next group."""
        if self._worker is None:
            return self._draw()
        images, drawn = self._ready.popleft().result()
        self._ready.append(self._worker.submit(self._draw_on_stream))
        training = torch.cuda.current_stream()
        training.wait_event(drawn)
        for field in fields(Images):
            getattr(images, field.name).record_stream(training)
        return images

    def _draw(self) -> Images:
        random = Random(self._seed * 1_000_003 + self._number, self._device)
        self._number += self._stride
        return draw_images(random, self._warper, 1, self._volumes)

    def _draw_on_stream(self) -> tuple[Images, torch.cuda.Event]:
        with torch.cuda.stream(self._stream):
            return self._draw(), self._stream.record_event()
