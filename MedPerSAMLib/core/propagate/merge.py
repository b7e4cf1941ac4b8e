"""Chains from all annotated slices, run outward together and blended where two of them meet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from MedPerSAMLib.core.grid import WorkingGrid
from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.core.propagate.chain import Chain, ChainParts, Link
from MedPerSAMLib.core.propagate.cleanup import smooth_across, touching_references
from MedPerSAMLib.core.propagate.confidence import chain_confidence, step_confidence
from MedPerSAMLib.core.task import Propagation, Reference

_NOWHERE = -9.0
"""Log-odds where a structure is not."""


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
    chains = [Chain(parts, start, layout.masks[start], run) for start, run in layout.runs]
    total, done = sum(len(run) for _, run in layout.runs), 0
    while any(not chain.ended for chain in chains):
        for chain in chains:
            if chain.ended:
                continue
            progress.step("following the structure", done, total)
            link = chain.advance()
            if link is not None:
                done += 1
                progress.slice_done(link.index, grid.to_native(link.mask[None])[0] > 0.5, step_confidence(link.signs))
    progress.step("putting the slices together", 0, 1)
    return _together(parts, layout, grid, reference, count, smoothing, [chain.finish() for chain in chains], progress)


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
    total = np.full((count, *grid.shape), _NOWHERE, np.float32)
    weight, confidence = np.zeros(count, np.float32), np.zeros(count, np.float32)
    finished, present = np.zeros(count, bool), np.zeros(count, bool)
    details: dict[str, np.ndarray] = {}
    for (start, run), links in zip(layout.runs, chains):
        finished[list(run)] = True
        trust = chain_confidence([step_confidence(link.signs) for link in links], [link.evidence for link in links])
        for number, (link, sure) in enumerate(zip(links, trust)):
            for name, figure in {**link.signs, "presence": link.evidence}.items():
                details.setdefault(name, np.full(count, np.nan, np.float32))[link.index] = figure
            if not link.present and link.index not in layout.between:
                confidence[link.index] = max(confidence[link.index], 1 - sure)
                continue
            plane = np.full(grid.shape, _NOWHERE, np.float32)
            plane[link.window] = link.log_odds
            # Where two chains meet, each counts by its confidence and by how near its own annotation is.
            share = sure / (1 + number)
            total[link.index] = (total[link.index] * weight[link.index] + plane * share) / (weight[link.index] + share)
            confidence[link.index] = (confidence[link.index] * weight[link.index] + sure * share) / (
                weight[link.index] + share
            )
            weight[link.index] += share
            present[link.index] = True
        for index in run[len(links) :]:
            confidence[index] = max(confidence[index], 0.9)
    for index, mask in layout.masks.items():
        total[index] = np.where(mask, -_NOWHERE, _NOWHERE)
        present[index] = finished[index] = True
        confidence[index] = 1.0
    total = smooth_across(total, present, layout.masks, smoothing)
    found = touching_references(grid.to_native(total) > 0, reference.masks)
    for index, mask in reference.masks.items():
        found[index] = mask
    for index in np.flatnonzero(finished):
        if index not in reference.masks:
            progress.slice_done(int(index), found[index], float(confidence[index]))
    return Propagation(found, confidence, found.any(axis=(1, 2)), finished, (), details)
