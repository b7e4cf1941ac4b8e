"""What Matcher finds in the annotated image when a proposal on another one is taken for the annotation.

The whole way there and back, as forward-backward tracking judges itself: features may match a wrong structure once, but that one
mostly leads elsewhere on the way back. Slower than :mod:`core.propagate.recognise`, which compares means, and it tells more. [I]
"""

from __future__ import annotations

import numpy as np

from MedPerSAMLib.core.grid import WorkingGrid
from MedPerSAMLib.core.methods.matcher import Matcher
from MedPerSAMLib.core.overlap import dice
from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.core.session import ImageSession
from MedPerSAMLib.core.task import MINIMUM_REFERENCE_PIXELS


class WayBack:
    """Judges proposals on the targets of a session.

    Args:
        matcher: goes back.
        session: its annotated image and mask are what should be found again.
        progress: asked whether to stop.
    """

    def __init__(self, matcher: Matcher, session: ImageSession, progress: Progress) -> None:
        self._matcher, self._session, self._progress = matcher, session, progress

    def finds(self, number: int, grid: WorkingGrid, mask: np.ndarray) -> float:
        """Dice of the annotation and what is found of it, 0..1.

        Args:
            number: of the target.
            grid: the target's working grid.
            mask: (rows, columns) bool on that grid, the proposal.

        Raises:
            Cancelled: the user asked for it.
        """
        self._progress.check()
        native = grid.to_native(mask[None])[0] > 0.5
        if np.count_nonzero(native) < MINIMUM_REFERENCE_PIXELS:
            return 0.0
        turned = self._session.turned(number, native)
        found = self._matcher.find_in(turned, self._matcher.learn_from(turned, self._progress), 0)
        return dice(found.mask, np.asarray(self._session.mask, bool))
