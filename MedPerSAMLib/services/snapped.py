"""``--snap``: what is annotated are rough shapes, which are outlined before anything is propagated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from MedPerSAMLib.errors import InputError

if TYPE_CHECKING:
    from MedPerSAMLib.core.session import VolumeSession
    from MedPerSAMLib.core.task import Reference

NOTE = "The annotated slices are outlines that SAM found in the drawn shapes; look at them before you trust the rest."


def snapped(references: Mapping[int, Reference], session: VolumeSession, method_name: str) -> dict[int, Reference]:
    """Label value -> the outlines of what lies in a structure's rough shapes (``core.outline``).

    A voxel that several outlines claim stays with the structure that comes first.

    Raises:
        InputError: the method has no SAM to ask, or SAM finds nothing, or only pixels of another structure.
    """
    from MedPerSAMLib.core.outline import outline
    from MedPerSAMLib.core.task import Reference

    if session.predictor is None:
        raise InputError(f"--snap asks SAM, which the method {method_name!r} does without; choose another --method.")
    taken: dict[int, np.ndarray] = {}
    found = {}
    for value, reference in references.items():
        masks = {}
        for index, shape in reference.masks.items():
            others = taken.get(index, np.zeros_like(shape))
            mask = outline(session.predictor, session.slices[index], shape, session.in_plane_spacing).mask & ~others
            taken[index], masks[index] = others | mask, mask
        found[value] = Reference(masks, reference.name)
    return found
