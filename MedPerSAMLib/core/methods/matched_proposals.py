"""Matcher as a source of proposals for Med-PerSAM, and how far it is to be trusted about one structure.

Where the same structure lies elsewhere in every image, features matched over the whole image find it when a warp cannot. For
structures that share their looks with others they find too much. Which of both is so is measured, without any other label, on
changed copies of the annotated image, whose masks are known.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from MedPerSAMLib.core.changed_copy import ChangeSettings, changed_copy
from MedPerSAMLib.core.methods.matcher import Matcher, MatcherSettings
from MedPerSAMLib.core.overlap import dice
from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.core.session import ImageSession


@dataclass(frozen=True)
class MatchedSettings:
    """How matching proposes.

    Attributes:
        copies: changed copies on which it is tried.
        least_trust: mean Dice on the copies below which it proposes nothing.
        change: how the copies differ.
        matcher: the matching itself.
    """

    copies: int = 5
    least_trust: float = 0.2
    change: ChangeSettings = field(default_factory=ChangeSettings)
    matcher: MatcherSettings = field(default_factory=MatcherSettings)


class MatchedProposals:
    """Masks of target images by matched features.

    Args:
        session: the annotated image and its targets; needs a predictor.
        settings: how.
        progress: where a long learning step would report to.
    """

    def __init__(self, session: ImageSession, settings: MatchedSettings, progress: Progress) -> None:
        self._session, self._settings = session, settings
        self._matcher = Matcher(settings.matcher)
        self._learned = self._matcher.learn_from(session, progress)
        self.trust = self._tried_on_copies()
        """Mean Dice on changed copies of the annotated image, 0..1."""

    def find(self, number: int) -> np.ndarray | None:
        """(rows, columns) bool on target image ``number``; None where nothing is found or matching is not trusted."""
        if self.trust < self._settings.least_trust:
            return None
        mask = self._matcher.find_in(self._session, self._learned, number).mask
        return mask if mask.any() else None

    def _tried_on_copies(self) -> float:
        image, mask, seed = self._session.image, self._session.mask, self._session.seed
        rng = np.random.default_rng(seed)
        copies = [changed_copy(image, mask, self._settings.change, rng) for _ in range(self._settings.copies)]
        copies = [(copy, moved) for copy, moved in copies if moved.any()]
        tried = ImageSession(image, mask, [copy for copy, _ in copies], self._session.predictor, seed=seed)
        found = [self._matcher.find_in(tried, self._learned, number).mask for number in range(len(copies))]
        return float(np.mean([dice(a, moved) for a, (_, moved) in zip(found, copies)])) if copies else 0.0
