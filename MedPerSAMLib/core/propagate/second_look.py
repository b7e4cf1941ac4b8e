"""A second look at the slices between two annotated ones: SAM and the appearance correct what both chains make of them together.

Each chain was corrected on its own way only; their common outline is a better question than either asked. [I]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.core.propagate.chain import LEAST_PIXELS, Chain, ChainParts


def second_looks(
    parts: ChainParts, chain: Chain, outlines: Mapping[int, np.ndarray], progress: Progress
) -> Iterator[tuple[int, np.ndarray]]:
    """Correct common outlines once more, on the slices where something is left of them.

    Args:
        parts: of the side on which the slices lie; without a refiner there is nothing more to be learned.
        chain: one of that side.
        outlines: slice -> (rows, columns) bool on the working grid.
        progress: hears a cancel before each batch.

    Yields:
        slice, (rows, columns) bool, not empty.

    Raises:
        Cancelled: the user asked for it.
    """
    if parts.refiner is None:
        return
    asked = [chain.question_about(index, mask) for index, mask in sorted(outlines.items())]
    questions = [question for question in asked if question is not None]
    for start in range(0, len(questions), parts.at_once):
        progress.check()
        some = questions[start : start + parts.at_once]
        for question, said in zip(some, parts.refiner(some), strict=True):
            mask = chain.corrected(question, said)
            if np.count_nonzero(mask) >= LEAST_PIXELS:
                yield question.index, mask
