"""Where a structure ends: evidence for its presence, slice by slice, and the slice after which the evidence speaks against it.

Over-propagation past the end is the commonest error of one-shot methods (METHOD.md section 1 [V]). No single sign is
reliable, so several are added up as log-odds, and the end is put where their running sum is highest: one doubtful slice does
not stop a chain, and a chain that has run past the end is cut back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PresenceSettings:
    """Log-odds of presence on a slice. The weights of area and contrast come from one logistic regression over all slices that
    chains reach in the labelled sets of data/README.md, and are the same for every case. Distance and brightness are left
    out: by them tubes that run through a volume were let go, because they are long for their width, and sets that the
    regression had not seen fared worse.

    Attributes:
        area: per natural logarithm of the area on the slice *before*, relative to the annotated slice's: where a structure
            has dwindled it is about to end, and the mask past its end is as large as a leak makes it.
        contrast: per contrast of the appearance, mean of the slice and the one before, relative to the annotated slice's.
        offset: added to all; the regression gave -0.5, more is taken because a structure cut short costs more than one
            that runs on.
        features: per contrast of SAM's features, mean of the slice and the one before. It is not taken relative to the annotated
            slice's: features that hardly tell the structure from its surroundings there say little anywhere. This and the level
            were chosen by the Dice on the five labelled sets; generated abdomens would choose more (``Testing.benchmarks.presence``).
        features_level: part of the annotated slice's contrast that speaks neither for presence nor against it.
        regrowth: lost per natural logarithm of the area on the slice before, relative to the chain's smallest so far, where the chain
            leads from a correction to the structure's end: there it tapers, and what grows again is a leak. Chosen by the
            corrections of the labelled sets (protocol ``correction``).
        most, least: bounds of one slice's log-odds: no slice says much more than "probably".
        tolerance: how far the running sum may fall before the chain is stopped.
    """

    area: float = 1.4
    contrast: float = 4.2
    offset: float = 0.0
    features: float = 4.0
    features_level: float = 0.7
    regrowth: float = 4.0
    most: float = 1.0
    least: float = -3.0
    tolerance: float = 4.0


@dataclass(frozen=True)
class Sight:
    """What is seen of a structure on a slice.

    Attributes:
        area: pixels.
        contrast: of the appearance, inside less around, -1..1.
        features: contrast of a frozen encoder's features, inside less around, along that of the annotated slice; None where
            there is no encoder.
    """

    area: int
    contrast: float
    features: float | None = None

    def beside(self, reference: Sight) -> float:
        """Its contrast in parts of the annotated slice's."""
        return self.contrast / max(0.05, reference.contrast)


class PresenceTracker:
    """Follows one chain and remembers the last slice that is worth keeping.

    Args:
        reference: what is seen on the annotated slice by which presence is judged.
        start: what is seen on the annotated slice at which the chain starts.
        settings: of the evidence.
        tapers: whether the structure is expected to taper along the chain.
    """

    def __init__(self, reference: Sight, start: Sight, settings: PresenceSettings, tapers: bool = False) -> None:
        self._reference, self._before, self._settings = reference, start, settings
        self._smallest = start.area if tapers else None
        self._sum = self._best = 0.0
        self._steps = 0
        self.kept_steps = 0
        """How many steps of the chain are kept so far."""

    def see(self, sight: Sight) -> float:
        """Evidence for presence on the chain's next slice, in log-odds; positive speaks for it."""
        s, reference, before = self._settings, self._reference, self._before
        self._before = sight
        value = (
            s.area * math.log(before.area / reference.area)
            + s.contrast * (sight.beside(reference) + before.beside(reference)) / 2
            + s.offset
        )
        if None not in (sight.features, before.features, reference.features):
            value += s.features * ((sight.features + before.features) / 2 - s.features_level * reference.features)
        if self._smallest is not None:
            self._smallest = min(self._smallest, before.area)
            value -= s.regrowth * math.log(before.area / self._smallest)
        return float(np.clip(value, s.least, s.most))

    def add(self, evidence: float) -> bool:
        """Add a slice's log-odds; False where the chain should stop."""
        self._sum += evidence
        self._steps += 1
        if self._sum > self._best:
            self._best, self.kept_steps = self._sum, self._steps
        return self._sum > self._best - self._settings.tolerance
