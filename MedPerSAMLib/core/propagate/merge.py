"""Chains from all annotated slices, run outward together and blended where two of them meet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from MedPerSAMLib.core.appearance import radius
from MedPerSAMLib.core.grid import WorkingGrid
from MedPerSAMLib.core.progress import CallbackProgress, Progress
from MedPerSAMLib.core.propagate.chain import Chain, ChainParts, Link
from MedPerSAMLib.core.propagate.cleanup import smooth_across, touching_references
from MedPerSAMLib.core.propagate.confidence import absence_confidence, slice_confidence
from MedPerSAMLib.core.propagate.drift import drift_corrections
from MedPerSAMLib.core.propagate.step import FAR, outline_distance
from MedPerSAMLib.core.task import Propagation, Reference
from MedPerSAMLib.core.warp.fields import BATCH

_FOLLOWING = "following the structure"


@dataclass(frozen=True)
class MeetingSettings:
    """How two chains share the slices between their annotated slices [V].

    A chain's errors add up, and fast; and one that starts from a structure's tip is too small for many slices, because it
    cannot grow as fast as a structure that it enters there. Six hippocampus and four heart volumes set the figures.

    Attributes:
        power: a chain counts by this power of its annotation's radius, relative to the largest's, over its steps so far.
        drift: where a chain arrives at the other annotation, its error there is taken back from its outlines, in the
            part of the way that they had come, to this power; infinity takes nothing back.
        most_drift: bound of what is taken back, working pixels.
    """

    power: float = 3.0
    drift: float = 3.0
    most_drift: float = 4.0


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
    meeting: MeetingSettings = MeetingSettings(),
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
        _prepare_ahead(parts, chains, CallbackProgress(lambda *_, done=done: progress.step(_FOLLOWING, done, total)))
        for chain in chains:
            if chain.ended:
                continue
            progress.step(_FOLLOWING, done, total)
            link = chain.advance()
            if link is not None:
                done += 1
                progress.slice_done(
                    link.index, grid.to_native(link.mask[None])[0] > 0.5, slice_confidence(link.signs, link.evidence)
                )
    progress.step("putting the slices together", 0, 1)
    return _together(parts, layout, grid, reference, count, smoothing, chains, meeting, progress)


def _prepare_ahead(parts: ChainParts, chains: Sequence[Chain], progress: Progress) -> None:
    """Compute the fields of the next steps, several at once; those beyond a structure's end are never needed."""
    going = [chain for chain in chains if not chain.ended]
    if not all(parts.fields.has(chain.ahead(1)) for chain in going):
        slices = max(1, BATCH // (2 * len(going)))
        parts.fields.prepare([pair for chain in going for pair in chain.ahead(slices)], progress)


class _Blend:
    """Weighted means of outlines and confidence where chains overlap.

    Outlines are blended as signed distances, so that two discs of different sizes give one in between.
    """

    def __init__(self, count: int, shape: tuple[int, int]) -> None:
        self.distance = np.full((count, *shape), -FAR, np.float32)
        self.confidence, self._weight = np.zeros(count, np.float32), np.zeros(count, np.float32)
        self.details: dict[str, np.ndarray] = {}

    @property
    def present(self) -> np.ndarray:
        """(slices,) bool, slices that some chain reached."""
        return self._weight > 0

    def add(self, link: Link, sure: float, share: float, correction: np.ndarray | float = 0.0) -> None:
        """Add a chain's result on one slice with its confidence, counting by ``share`` > 0.

        ``correction`` moves its outline outward, by pixels.
        """
        self._weight[link.index] += share
        part = share / self._weight[link.index]
        self.distance[link.index] += part * (outline_distance(link.mask) + correction - self.distance[link.index])
        self.confidence[link.index] += part * (sure - self.confidence[link.index])

    def fix(self, index: int, mask: np.ndarray) -> None:
        """Set an annotated slice."""
        self.distance[index] = outline_distance(mask)
        self.confidence[index] = self._weight[index] = 1.0

    def note(self, index: int, figures: Mapping[str, float]) -> None:
        """Remember per-slice figures for reports; NaN where there is none."""
        for name, figure in figures.items():
            self.details.setdefault(name, np.full(len(self._weight), np.nan, np.float32))[index] = figure


def _together(
    parts: ChainParts,
    layout: Layout,
    grid: WorkingGrid,
    reference: Reference,
    count: int,
    smoothing: float,
    chains: list[Chain],
    meeting: MeetingSettings,
    progress: Progress,
) -> Propagation:
    blend, absent = _Blend(count, grid.shape), np.zeros(count, np.float32)
    finished = np.zeros(count, bool)
    largest = radius(layout.masks[layout.largest])
    for (start, run), chain in zip(layout.runs, chains):
        links = chain.finish()
        corrections = drift_corrections(parts, chain, run, layout.masks, meeting.drift, meeting.most_drift)
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
            sure = slice_confidence(link.signs, link.evidence)
            share = sure / (1 + number) * radius(mask) / largest
            if link.index in layout.between:
                share *= (radius(mask) / largest / (1 + number)) ** (meeting.power - 1)
            blend.add(link, sure, share, corrections.get(link.index, 0.0))
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
