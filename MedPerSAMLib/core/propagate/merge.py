"""Chains from all annotated slices, run outward together and blended where two of them meet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from MedPerSAMLib.core.appearance import radius
from MedPerSAMLib.core.features import window_around
from MedPerSAMLib.core.grid import WorkingGrid
from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.core.propagate.chain import Chain, ChainParts, Link
from MedPerSAMLib.core.propagate.cleanup import smooth_across, touching_references
from MedPerSAMLib.core.propagate.confidence import absence_confidence, slice_confidence
from MedPerSAMLib.core.propagate.step import signed_distance
from MedPerSAMLib.core.task import Propagation, Reference

_FAR = 9.0
"""Pixels from an outline beyond which distances no longer count."""


@dataclass(frozen=True)
class Layout:
    """Which chain visits which slices.

    Attributes:
        masks: annotated slice -> (rows, columns) bool on the working grid.
        runs: (annotated slice, slices to visit in order) for each chain; between two annotated slices both chains visit
            all slices.
        between: slices that lie between two annotated ones.
    """

    masks: Mapping[int, np.ndarray]
    runs: tuple[tuple[int, tuple[int, ...]], ...]
    between: frozenset[int]

    @classmethod
    def of(cls, wanted: Iterable[int], masks: Mapping[int, np.ndarray]) -> Layout:
        """Chains from every annotated slice to the next one, or to the end of the wanted slices."""
        wanted, annotated = set(wanted), sorted(masks)
        runs, between = [], set()
        for start in annotated:
            for direction in (1, -1):
                run, index = [], start + direction
                while index in wanted and index not in masks:
                    run.append(index)
                    index += direction
                runs.append((start, tuple(run)))
                if index in masks:
                    between.update(run)
        return cls(masks, tuple(runs), frozenset(between))

    @property
    def largest(self) -> int:
        """The annotated slice with the largest mask."""
        return max(self.masks, key=lambda index: np.count_nonzero(self.masks[index]))

    def pairs(self) -> list[tuple[int, int]]:
        """(source, target) of every step and of its way back, nearest to the annotated slices first."""
        steps = []
        for start, run in self.runs:
            for number, (source, target) in enumerate(zip((start, *run), run)):
                steps.append((number, source, target))
        return [pair for _, a, b in sorted(steps) for pair in ((a, b), (b, a))]


def run_chains(
    parts: ChainParts,
    layout: Layout,
    grid: WorkingGrid,
    reference: Reference,
    count: int,
    smoothing: float,
    progress: Progress,
) -> Propagation:
    """Run all chains outward, handing over slices as they come, and put them together.

    Raises:
        Cancelled: the user asked for it; finished slices have been handed over by then.
    """
    largest = layout.largest
    chains = [
        Chain(parts, start, layout.masks[start], run, largest, layout.masks[largest]) for start, run in layout.runs
    ]
    total, done = sum(len(run) for _, run in layout.runs), 0
    while any(not chain.ended for chain in chains):
        for chain in chains:
            if chain.ended:
                continue
            progress.step("following the structure", done, total)
            link = chain.advance()
            if link is not None:
                done += 1
                progress.slice_done(
                    link.index, grid.to_native(link.mask[None])[0] > 0.5, slice_confidence(link.signs, link.evidence)
                )
    progress.step("putting the slices together", 0, 1)
    return _together(parts, layout, grid, reference, count, smoothing, [chain.finish() for chain in chains], progress)


class _Blend:
    """Weighted means of outlines and confidence where chains overlap.

    Outlines are blended as signed distances, so that two discs of different sizes give one in between.
    """

    def __init__(self, count: int, shape: tuple[int, int]) -> None:
        self.distance = np.full((count, *shape), -_FAR, np.float32)
        self.confidence, self._weight = np.zeros(count, np.float32), np.zeros(count, np.float32)
        self.details: dict[str, np.ndarray] = {}

    @property
    def present(self) -> np.ndarray:
        """(slices,) bool, slices that some chain reached."""
        return self._weight > 0

    def add(self, link: Link, sure: float, share: float) -> None:
        """Add a chain's result on one slice with its confidence, counting by ``share`` > 0."""
        self._weight[link.index] += share
        part = share / self._weight[link.index]
        self.distance[link.index] += part * (_outline(link.mask) - self.distance[link.index])
        self.confidence[link.index] += part * (sure - self.confidence[link.index])

    def fix(self, index: int, mask: np.ndarray) -> None:
        """Set an annotated slice."""
        self.distance[index] = _outline(mask)
        self.confidence[index] = self._weight[index] = 1.0

    def note(self, index: int, figures: Mapping[str, float]) -> None:
        """Remember per-slice figures for reports; NaN where there is none."""
        for name, figure in figures.items():
            self.details.setdefault(name, np.full(len(self._weight), np.nan, np.float32))[index] = figure


def _outline(mask: np.ndarray) -> np.ndarray:
    """(rows, columns) float32, pixels to the border of a non-empty mask, positive inside, bounded by ``_FAR``."""
    distance = np.full(mask.shape, -_FAR, np.float32)
    window = window_around(mask, int(_FAR) + 1)
    distance[window] = np.clip(signed_distance(mask[window]), -_FAR, _FAR)
    return distance


def _together(
    parts: ChainParts,
    layout: Layout,
    grid: WorkingGrid,
    reference: Reference,
    count: int,
    smoothing: float,
    chains: list[list[Link]],
    progress: Progress,
) -> Propagation:
    blend, absent = _Blend(count, grid.shape), np.zeros(count, np.float32)
    finished = np.zeros(count, bool)
    largest = radius(layout.masks[layout.largest])
    for (start, run), links in zip(layout.runs, chains):
        finished[list(run)] = True
        mask = layout.masks[start]
        kept = [link for link in links if link.present or link.index in layout.between]
        end = kept[-1].index if kept else start
        for index in run:
            beyond = abs(index - end) * parts.step_pixels / radius(mask)
            absent[index] = max(absent[index], absence_confidence(beyond))
        for link in links:
            blend.note(link.index, {**link.signs, "presence": link.evidence})
        for number, link in enumerate(kept):
            # Where two chains meet, each counts by its confidence, by how near its own annotation is, and by how much that
            # annotation shows: a chain cannot grow as fast as a structure that it enters at its tip.
            sure = slice_confidence(link.signs, link.evidence)
            blend.add(link, sure, sure / (1 + number) * radius(mask) / largest)
    for index, mask in layout.masks.items():
        blend.fix(index, mask)
        finished[index] = True
    confidence = np.where(blend.present, blend.confidence, absent)
    distance = smooth_across(blend.distance, blend.present, layout.masks, smoothing)
    found = touching_references(grid.to_native(distance) > 0, reference.masks)
    for index, mask in reference.masks.items():
        found[index] = mask
    for index in np.flatnonzero(finished):
        if index not in reference.masks:
            progress.slice_done(int(index), found[index], float(confidence[index]))
    return Propagation(found, confidence, found.any(axis=(1, 2)), finished, (), blend.details)
