"""The floor under every method: the nearest annotated slice's mask, repeated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from MedPerSAMLib.core.methods.slicewise import (
    Collector,
    annotated_mask,
    by_nearest_reference,
    distance_confidence,
    open_slices,
)
from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.core.session import ImageSession, VolumeSession
from MedPerSAMLib.core.task import Propagation, Reference, Transfer


@dataclass(frozen=True)
class CopySettings:
    """How sure a copy claims to be; our own choice, there is no paper.

    Attributes:
        reach: distance at which the confidence has fallen to 1/e, in units of r = sqrt(area / pi) of the copied mask.
        unrelated_confidence: confidence on another image, of which a copy knows nothing.
    """

    reach: float = 1.0
    unrelated_confidence: float = 0.5


class CopyReference:
    """Repeats the nearest annotated mask on every slice, or on every other image, resized to its shape."""

    summary = "the nearest annotated mask, repeated on every slice: what any method must beat"
    needs_model = False

    def __init__(self, settings: CopySettings = CopySettings()) -> None:
        self.settings = settings

    def propagate(
        self, session: VolumeSession, reference: Reference, progress: Progress, slices: range | None = None
    ) -> Propagation:
        """Copy onto every slice of the range; the confidence falls with the distance from the annotated slice.

        Raises:
            InputError: the reference or the range does not fit the volume.
            Cancelled: the user asked for it.
        """
        volume = session.volume
        indices = open_slices(volume, reference, slices)
        collector = Collector(volume, reference, progress, "copying", len(indices))
        for annotated, members in by_nearest_reference(indices, reference.masks).items():
            mask = reference.masks[annotated]
            for index in members:
                distance_mm = abs(index - annotated) * volume.spacing[0]
                confidence = distance_confidence(distance_mm, mask, session.in_plane_spacing, self.settings.reach)
                collector.add(index, mask, confidence)
        return collector.result()

    def transfer(self, session: ImageSession, progress: Progress) -> list[Transfer]:
        """The mask on every target, resized by nearest neighbour to the target's shape.

        The listener gets each finished target as a slice, whose index is the target's number.

        Raises:
            InputError: the mask is empty or does not fit the annotated image.
            Cancelled: the user asked for it.
        """
        mask, transfers = annotated_mask(session), []
        for done, target in enumerate(session.targets, start=1):
            transfers.append(Transfer(_resized(mask, target.shape[:2]), self.settings.unrelated_confidence))
            progress.slice_done(done - 1, transfers[-1].mask, transfers[-1].confidence)
            progress.step("copying", done, len(session.targets))
        return transfers


def _resized(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The mask at another (rows, columns), nearest neighbour, pixel centres aligned."""
    rows, columns = (((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(shape, mask.shape))
    return mask[np.ix_(rows, columns)]
