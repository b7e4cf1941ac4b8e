"""The chain: from an annotated slice outward, each slice's mask carried to the next and corrected there."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from MedPerSAMLib.core.appearance import radius
from MedPerSAMLib.core.features import Window, window_around
from MedPerSAMLib.core.overlap import dice
from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.core.propagate.presence import PresenceSettings, PresenceTracker, Sight
from MedPerSAMLib.core.propagate.step import StepSettings, correct

LEAST_PIXELS = 3
"""A mask of fewer working pixels is gone."""


@dataclass
class Link:
    """The chain's result on one slice, on the working grid.

    Attributes:
        index: the slice.
        mask: (rows, columns) bool.
        evidence: log-odds of presence.
        signs: per-slice figures, such as the agreement of mask and carried mask.
        present: whether it lies before the chain's end.
    """

    index: int
    mask: np.ndarray
    evidence: float = 0.0
    signs: dict[str, float] = field(default_factory=dict)
    present: bool = True


class Question(NamedTuple):
    """What a refiner is asked about.

    Attributes:
        index: the slice.
        carried: (rows, columns) bool, the mask as it was carried there, not empty.
        window: where an answer is wanted.
    """

    index: int
    carried: np.ndarray
    window: Window


class Said(NamedTuple):
    """A refiner's answer.

    Attributes:
        log_odds: (window rows, window columns) float32, weighted; None where it is no help.
        signs: figures about it.
    """

    log_odds: np.ndarray | None
    signs: dict[str, float]


NOTHING_SAID = Said(None, {})

Refiner = Callable[[Sequence[Question]], list[Said]]
"""Questions of chains that are under way at the same time -> their answers."""


def joined(refiners: Sequence[Refiner]) -> Refiner | None:
    """Several refiners as one, whose log-odds add up; None for none."""

    def ask_all(questions: Sequence[Question]) -> list[Said]:
        return [_sum(answers) for answers in zip(*(refiner(questions) for refiner in refiners), strict=True)]

    return ask_all if refiners else None


def _sum(answers: Sequence[Said]) -> Said:
    found = [answer.log_odds for answer in answers if answer.log_odds is not None]
    return Said(sum(found[1:], found[0]) if found else None, {k: v for answer in answers for k, v in answer.signs.items()})


class Fields(Protocol):
    """Carries masks between neighbouring slices, as ``warp.fields.NeighbourFields`` does."""

    def has(self, pairs: Sequence[tuple[int, int]]) -> bool:
        """Whether all (source, target) pairs can be carried between at once."""

    def prepare(self, pairs: Sequence[tuple[int, int]], progress: Progress) -> None:
        """Compute what is missing for the (source, target) pairs."""

    def carry(self, soft: np.ndarray, source: int, target: int) -> np.ndarray:
        """A (rows, columns) float image of slice ``source``, moved onto the neighbouring slice ``target``."""


class Looks(Protocol):
    """Knows what the structure looks like, as ``appearance.Appearance`` does."""

    def log_odds(self, index: int, window: Window) -> np.ndarray:
        """(window rows, window columns) float32, positive where slice ``index`` looks like the structure."""

    def contrast(self, index: int, mask: np.ndarray) -> float:
        """How much more the inside of a mask on slice ``index`` looks like it than the surroundings do, -1..1."""


class Features(Protocol):
    """Knows what a frozen encoder's features of the structure are, as ``refiner.SamRefiner`` does."""

    def contrast(self, index: int, mask: np.ndarray, about: np.ndarray) -> float:
        """How far the inside of a mask on slice ``index`` differs from its surroundings as it does on the annotated slice.

        The slice is shown around the mask ``about``.
        """


@dataclass(frozen=True)
class ChainParts:
    """What a chain works with; what is None is left out.

    Attributes:
        planes: (slices, rows, columns) float32 in 0..1, the working slices.
        fields: carry masks between neighbouring slices.
        appearance: of the structure.
        appearance_weight: of its log-odds in a step; its contrast serves the presence test at any weight.
        refiner: gives further evidence from a carried mask.
        step: how far carried masks are believed.
        presence: when to stop; None follows the structure to the end of the range.
        step_pixels: distance between slices in working pixels.
        at_once: questions that the refiner answers at once; a cancel is heard between, not within.
        features: of the structure; they serve the presence test.
    """

    planes: np.ndarray
    fields: Fields
    appearance: Looks
    appearance_weight: float
    refiner: Refiner | None
    step: StepSettings
    presence: PresenceSettings | None
    step_pixels: float
    at_once: int = 8
    features: Features | None = None


class Chain:
    """Follows the structure from one annotated slice in one direction.

    Args:
        parts: what it works with.
        start: the annotated slice.
        mask: (rows, columns) bool on the working grid.
        targets: slices to visit, in order, each next to the one before.
        largest: annotated slice with the largest mask, by which the structure's presence is judged: seen from its tip, a
            structure would never seem to end.
        largest_mask: (rows, columns) bool of that slice.
        tapers: whether the structure is expected to taper along the chain, as it does from a correction to its end.
    """

    def __init__(
        self,
        parts: ChainParts,
        start: int,
        mask: np.ndarray,
        targets: Sequence[int],
        largest: int,
        largest_mask: np.ndarray,
        tapers: bool = False,
    ) -> None:
        self._parts, self._start, self._targets = parts, start, list(targets)
        self._index, self._mask = start, mask
        self.links: list[Link] = []
        self._reference = sight(parts, largest, largest_mask, largest_mask)
        settings = parts.presence or PresenceSettings(tolerance=float("inf"))
        seen = self._reference if start == largest else sight(parts, start, mask, mask)
        self._tracker = PresenceTracker(self._reference, seen, settings, tapers)
        self.ended = not self._targets

    def question(self) -> Question | None:
        """What is to be known about the next slice; None once the structure, or the range, has ended."""
        question = None if self.ended else self._carried_to(self._targets[len(self.links)])
        self.ended = question is None
        return question

    def advance(self, question: Question, said: Said = NOTHING_SAID) -> Link | None:
        """Do the next slice with the refiner's answer to :meth:`question`; None where the structure has ended."""
        link = self._follow(question, said)
        if link is None:
            self.ended = True
            return None
        self.links.append(link)
        target = link.index
        seen = sight(self._parts, target, link.mask, question.carried)
        link.evidence = self._tracker.see(seen)
        link.signs["contrast"] = self._relative(seen)
        goes_on = self._tracker.add(link.evidence)
        self.ended = not goes_on or len(self.links) == len(self._targets)
        self._index, self._mask = target, link.mask
        return link

    def ahead(self, slices: int) -> list[tuple[int, int]]:
        """(source, target) of the next steps and of their ways back; none once the chain has ended."""
        if self.ended:
            return []
        coming = self._targets[len(self.links) :][:slices]
        return [pair for a, b in zip([self._index, *coming], coming) for pair in ((a, b), (b, a))]

    def finish(self) -> list[Link]:
        """All links, with those beyond the structure's end marked absent."""
        if self._parts.presence is not None:
            for number, link in enumerate(self.links):
                link.present = number < self._tracker.kept_steps
        return self.links

    def arrival(self, annotated: Container[int]) -> Link | None:
        """What a chain that did its whole way would find on the slice after its last, where that is an annotated one."""
        if not self._targets or len(self.links) < len(self._targets):
            return None
        following = 2 * self._targets[-1] - (self._targets[-2] if len(self._targets) > 1 else self._start)
        question = self._carried_to(following) if following in annotated else None
        if question is None:
            return None
        return self._follow(question, *([] if self._parts.refiner is None else self._parts.refiner([question])))

    def _carried_to(self, target: int) -> Question | None:
        """The mask carried to a neighbouring slice; None where nothing is left of it."""
        parts = self._parts
        carried = parts.fields.carry(self._mask, self._index, target) > 0.5
        return self.question_about(target, carried)

    def question_about(self, index: int, mask: np.ndarray) -> Question | None:
        """What is to be known about a (rows, columns) bool mask on a slice; None where too little of it is left."""
        if np.count_nonzero(mask) < LEAST_PIXELS:
            return None
        step, step_pixels = self._parts.step, self._parts.step_pixels
        margin = int(np.ceil(min(step.growth_share * radius(mask), step.growth * step_pixels))) + 4
        return Question(index, mask, window_around(mask, margin))

    def corrected(self, question: Question, said: Said = NOTHING_SAID) -> np.ndarray:
        """The (rows, columns) bool mask that a carried mask, the appearance and the refiner's answer agree on, possibly empty."""
        parts, (target, carried, window) = self._parts, question
        evidence = []
        if parts.appearance_weight:
            evidence.append(parts.appearance_weight * parts.appearance.log_odds(target, window))
        if said.log_odds is not None:
            evidence.append(self._support(target, carried) * said.log_odds)
        if not evidence:
            return carried
        mask = np.zeros_like(carried)
        mask[window], _ = correct(carried[window], evidence, parts.step_pixels, parts.step)
        return mask

    def _follow(self, question: Question, said: Said = NOTHING_SAID) -> Link | None:
        parts, (target, carried, _) = self._parts, question
        mask = self.corrected(question, said)
        if np.count_nonzero(mask) < LEAST_PIXELS:
            return None
        back = parts.fields.carry(mask, target, self._index) > 0.5
        signs = {**said.signs, "cycle": dice(back, self._mask), "kept": dice(mask, carried)}
        return Link(target, mask, signs=signs)

    def _support(self, target: int, carried: np.ndarray) -> float:
        """How far a refiner is believed about a carried mask, 0..1: as far as its place still looks like the structure."""
        parts = self._parts
        if not parts.step.support or not parts.appearance_weight:
            return 1.0
        return min(1.0, self._relative(sight(parts, target, carried, None)) / parts.step.support)

    def _relative(self, seen: Sight) -> float:
        """A contrast in parts of the annotated slice's, 0..1."""
        return float(np.clip(seen.beside(self._reference), 0, 1))


def sight(parts: ChainParts, index: int, mask: np.ndarray, about: np.ndarray | None) -> Sight:
    """What is seen of a non-empty mask on a slice; of its features only where they are shown, around the mask ``about``."""
    features = None if parts.features is None or about is None else parts.features.contrast(index, mask, about)
    return Sight(int(np.count_nonzero(mask)), parts.appearance.contrast(index, mask), features)
