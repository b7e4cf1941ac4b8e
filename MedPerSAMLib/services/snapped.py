"""``--snap``: what is annotated are rough shapes, which are outlined before anything is propagated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from MedPerSAMLib.errors import InputError
from MedPerSAMLib.services.equipment import Equipment

if TYPE_CHECKING:
    from MedPerSAMLib.core.task import Reference, Volume

NOTE = "The annotated slices are outlines that SAM found in the drawn shapes; look at them before you trust the rest."


def snapped(references: Mapping[int, Reference], volume: Volume, equipment: Equipment) -> dict[int, Reference]:
    """Label value -> the outlines of what lies in a structure's rough shapes (``core.outline``).

    A voxel that several outlines claim stays with the structure that comes first.

    Raises:
        InputError: the method has no SAM to ask, or SAM finds nothing, or only pixels of another structure.
    """
    from MedPerSAMLib.core.intensity import normalise_volume
    from MedPerSAMLib.core.outline import outline
    from MedPerSAMLib.core.task import Reference

    if equipment.predictor is None:
        raise InputError(f"--snap asks SAM, which the method {equipment.method_name!r} does without; choose another --method.")
    slices = normalise_volume(volume.array)
    taken = np.zeros(volume.array.shape, bool)
    found = {}
    for value, reference in references.items():
        masks = {}
        for index, shape in reference.masks.items():
            mask = outline(equipment.predictor, slices[index], shape, volume.spacing[1:]).mask & ~taken[index]
            taken[index] |= mask
            masks[index] = mask
        found[value] = Reference(masks, reference.name)
    return found
