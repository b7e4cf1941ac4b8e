"""Fit a learned part on the frozen SAM."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from MedPerSAMLib.core.learn.fitted import Fitted
from MedPerSAMLib.core.learn.labelled import LabelledVolume
from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.core.sam.predictor import Predictor


def fit(
    method: str,
    predictor: Predictor | None,
    training: Sequence[LabelledVolume],
    validation: Sequence[LabelledVolume],
    classes: int,
    seed: int,
    progress: Progress,
    resume: Fitted | None = None,
    keep: Callable[[Fitted], None] = lambda fitted: None,
) -> Fitted:
    """SKELETON - being written.

    ``keep`` is called after every check with the best weights so far and what is needed to go on; a Cancelled that is
    raised later loses nothing that was kept.
    """
    raise NotImplementedError


