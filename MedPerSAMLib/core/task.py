"""What goes into a propagation and what comes out of it.

Slices always lie along the first array axis here: whoever reads an image moves the annotated axis there and back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from MedPerSAMLib.errors import InputError

MINIMUM_REFERENCE_PIXELS = 4
"""A structure of fewer pixels has neither an inside nor a shape to follow."""


@dataclass(frozen=True)
class Volume:
    """A grey volume.

    Attributes:
        array: (slices, rows, columns) float32, finite.
        spacing: millimetres per step along (slices, rows, columns); all positive.
    """

    array: np.ndarray
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        if self.array.ndim != 3:
            raise InputError(f"The volume has {self.array.ndim} dimensions; give one with three (slices, rows, columns).")
        if not np.isfinite(self.array).all():
            count = int(self.array.size - np.isfinite(self.array).sum())
            raise InputError(f"The volume has {count} NaN or infinite voxels; replace them by numbers first.")
        if min(self.spacing) <= 0:
            raise InputError(f"The voxel spacing {self.spacing} is not positive; correct the image header.")

    @property
    def slice_shape(self) -> tuple[int, int]:
        """(rows, columns) of a slice."""
        return self.array.shape[1:]


@dataclass(frozen=True)
class Reference:
    """The annotated slices of one structure.

    Attributes:
        masks: slice index -> (rows, columns) bool; at least one, none of them empty.
        name: what the structure is called, for messages.
    """

    masks: Mapping[int, np.ndarray]
    name: str = "structure"

    def __post_init__(self) -> None:
        if not self.masks:
            raise InputError(f"{self.name} has no annotated slice; outline it on one slice first.")
        for index, mask in self.masks.items():
            pixels = int(np.count_nonzero(mask))
            if pixels < MINIMUM_REFERENCE_PIXELS:
                raise InputError(
                    f"{self.name} has only {pixels} pixel{'s' * (pixels != 1)} on slice {index}; outline at least "
                    f"{MINIMUM_REFERENCE_PIXELS} pixels, on a slice where the structure is larger."
                )

    def check_against(self, volume: Volume) -> None:
        """Raise InputError unless every annotated slice lies in the volume and has its slices' shape."""
        for index, mask in self.masks.items():
            if not 0 <= index < volume.array.shape[0]:
                raise InputError(f"{self.name}: slice {index} is outside the volume's 0..{volume.array.shape[0] - 1}.")
            if mask.shape != volume.slice_shape:
                raise InputError(
                    f"{self.name}: the mask's slice is {mask.shape}, the volume's {volume.slice_shape}; "
                    "resample the mask onto the volume's grid."
                )


@dataclass(frozen=True)
class Propagation:
    """The structure in the whole volume.

    Attributes:
        mask: (slices, rows, columns) bool; annotated slices exactly as annotated.
        confidence: (slices,) float32 in 0..1; 1 on annotated slices.
        present: (slices,) bool, where the structure was found.
        finished: (slices,) bool, which slices were worked on (all, unless cancelled or limited by a range).
        notes: sentences for the user (fallbacks taken, limits met).
        details: method-specific per-slice figures, each (slices,) float, for reports and plots.
    """

    mask: np.ndarray
    confidence: np.ndarray
    present: np.ndarray
    finished: np.ndarray
    notes: tuple[str, ...] = ()
    details: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Transfer:
    """One structure carried from an annotated 2D image onto another image.

    Attributes:
        mask: (rows, columns) bool.
        confidence: 0..1.
    """

    mask: np.ndarray
    confidence: float
