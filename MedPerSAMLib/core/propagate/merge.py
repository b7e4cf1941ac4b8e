"""Chains from all annotated slices, run outward together and blended where two of them meet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from MedPerSAMLib.core.appearance import radius
from MedPerSAMLib.core.grid import WorkingGrid
from MedPerSAMLib.core.progress import CallbackProgress, Progress
from MedPerSAMLib.core.propagate.chain import NOTHING_SAID, Chain, ChainParts, Fields, Link, Question
from MedPerSAMLib.core.propagate.cleanup import smooth_across, touching_references
from MedPerSAMLib.core.propagate.confidence import absence_confidence, slice_confidence
from MedPerSAMLib.core.propagate.drift import drift_corrections
from MedPerSAMLib.core.propagate.layout import Layout
from MedPerSAMLib.core.propagate.meeting import MeetingSettings, arrival_error, chain_share
from MedPerSAMLib.core.propagate.second_look import second_looks
from MedPerSAMLib.core.propagate.sides import Sides
from MedPerSAMLib.core.propagate.step import FAR, outline_distance
from MedPerSAMLib.core.task import Propagation, Reference
from MedPerSAMLib.core.warp.fields import BATCH

_FOLLOWING = "following the structure"


def run_chains(
    sides: Sides,
    layout: Layout,
    grid: WorkingGrid,
    reference: Reference,
    count: int,
    smoothing: float,
    progress: Progress,
    meeting: MeetingSettings = MeetingSettings(),
) -> Propagation:
    """Run all chains outward, handing over slices as they come, and put them together.

    Chains that a side has kept from an earlier run are not run again; their slices are handed over at once.

    Raises:
        Cancelled: the user asked for it; finished slices have been handed over by then.
    """
    largest = layout.largest
    chains = [
        sides.of(run).chains.get(run)
        or Chain(
            sides.of(run).parts,
            run[0],
            layout.masks[run[0]],
            run[1],
            largest,
            layout.masks[largest],
            layout.tapers(run),
        )
        for run in layout.runs
    ]
    fields = sides.of(layout.runs[0]).parts.fields
    total, done = sum(len(run) for _, run in layout.runs), 0

    def hand_over(link: Link) -> None:
        found = grid.to_native(link.mask[None])[0] > 0.5
        progress.slice_done(link.index, found, slice_confidence(link.signs, link.evidence))

    for link in [link for chain in chains for link in chain.links]:
        progress.step(_FOLLOWING, done, total)
        hand_over(link)
        done += 1
    while any(not chain.ended for chain in chains):
        _prepare_ahead(fields, chains, CallbackProgress(lambda *_, done=done: progress.step(_FOLLOWING, done, total)))
        progress.step(_FOLLOWING, done, total)
        for link in _advanced([(sides.of(run).parts, chain) for run, chain in zip(layout.runs, chains)]):
            progress.step(_FOLLOWING, done, total)
            done += 1
            hand_over(link)
    for run, chain in zip(layout.runs, chains):
        sides.of(run).chains[run] = chain
    progress.step("putting the slices together", 0, 1)
    return _together(sides, layout, grid, reference, count, smoothing, chains, meeting, progress)


def _prepare_ahead(fields: Fields, chains: Sequence[Chain], progress: Progress) -> None:
    """Compute the fields of the next steps, several at once; those beyond a structure's end are never needed."""
    # After a correction most chains have theirs; the batch belongs to those that lead onto new slices.
    waiting = [chain for chain in chains if not chain.ended and not fields.has(chain.ahead(1))]
    if waiting:
        slices = max(1, BATCH // (2 * len(waiting)))
        fields.prepare([pair for chain in waiting for pair in chain.ahead(slices)], progress)


def _advanced(chains: Sequence[tuple[ChainParts, Chain]]) -> Iterator[Link]:
    """The next link of each chain; those that share a refiner ask it together, as many as it answers at once."""
    asked = [(parts, chain, chain.question()) for parts, chain in chains]
    groups: dict[int, list[tuple[ChainParts, Chain, Question]]] = {}
    for parts, chain, question in asked:
        if question is not None:
            groups.setdefault(id(parts), []).append((parts, chain, question))
    for group in groups.values():
        parts = group[0][0]
        for start in range(0, len(group), parts.at_once):
            some = group[start : start + parts.at_once]
            said = [NOTHING_SAID] * len(some)
            if parts.refiner is not None:
                said = parts.refiner([question for _, _, question in some])
            for (_, chain, question), answer in zip(some, said, strict=True):
                link = chain.advance(question, answer)
                if link is not None:
                    yield link


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

    def correct(self, index: int, mask: np.ndarray, share: float) -> None:
        """Move a slice's outline towards that of a (rows, columns) bool mask, by ``share`` of the way."""
        self.distance[index] += share * (outline_distance(mask) - self.distance[index])

    def fix(self, index: int, mask: np.ndarray) -> None:
        """Set an annotated slice."""
        self.distance[index] = outline_distance(mask)
        self.confidence[index] = self._weight[index] = 1.0

    def note(self, index: int, figures: Mapping[str, float]) -> None:
        """Remember per-slice figures for reports; NaN where there is none."""
        for name, figure in figures.items():
            self.details.setdefault(name, np.full(len(self._weight), np.nan, np.float32))[index] = figure


def _together(
    sides: Sides,
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
        parts, links = sides.of((start, run)).parts, chain.finish()
        arrival = chain.arrival(layout.masks)
        error = arrival_error(arrival, layout.masks)
        corrections = drift_corrections(parts.fields, arrival, run, layout.masks, meeting.drift, meeting.most_drift)
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
            share = 1.0
            if link.index in layout.between:
                share = chain_share(radius(mask) / largest, error, (1 + number) / (1 + len(run)), meeting)
            blend.add(link, sure, sure * share, corrections.get(link.index, 0.0))
    if meeting.second_look:
        for index, mask in _looked_again(sides, layout, chains, blend, progress):
            blend.correct(index, mask, meeting.second_look)
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


def _looked_again(
    sides: Sides, layout: Layout, chains: Sequence[Chain], blend: _Blend, progress: Progress
) -> Iterator[tuple[int, np.ndarray]]:
    """Slices between annotated ones and what a second look makes of their common outlines, side by side."""
    common = {index: blend.distance[index] > 0 for index in layout.between if blend.present[index]}
    one_of_each = {}
    for run, chain in zip(layout.runs, chains):
        if layout.between.intersection(run[1]):
            one_of_each[id(sides.of(run))] = sides.of(run), chain
    for side, chain in one_of_each.values():
        here = {index: mask for index, mask in common.items() if sides.of((layout.largest, (index,))) is side}
        yield from second_looks(side.parts, chain, here, progress)
