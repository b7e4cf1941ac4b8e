"""The part of outlining a rough shape that runs in the background: arrays in, arrays out, no MRML."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from MedPerSAMLib.services.preload import quiet_imports
from MedPerSAMLib.services.propagation_work import Order, SessionCache

if TYPE_CHECKING:
    from MedPerSAMLib.core.outline import Outline
    from MedPerSAMLib.core.progress import Progress


def outline_slice(order: Order, index: int, shape: np.ndarray, sessions: SessionCache, listener: Progress) -> Outline:
    """The structure in a rough shape (rows, columns) bool on slice ``index`` of the order's volume; runs on any thread.

    Model and normalised slices are those of a propagation with the same choices, which finds them loaded.

    Raises:
        InputError: nothing is found there.
        ModelError: the model is missing or damaged.
    """
    from MedPerSAMLib.core.outline import outline

    listener.step("loading model", 0, 1)
    with quiet_imports():
        sessions.equipment(order)
    listener.step("reading volume", 0, 1)
    session = sessions.session(order)
    return outline(session.predictor, session.slices[index], shape, session.in_plane_spacing)
