"""Methods that learn a small part from the annotated slices alone and follow what it sees from slice to slice.

The part is asked about every slice in a window around the neighbour's mask. Neighbours share no warp: the neighbour's mask only
says where to look, and what may hang together. Presence, confidence and the clean-up are those of Med-PerSAM's chains.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from MedPerSAMLib.core.learn.one_slice import OneSliceSettings
from MedPerSAMLib.core.methods.slicewise import open_slices
from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.core.propagate.chain import ChainParts
from MedPerSAMLib.core.propagate.layout import Layout
from MedPerSAMLib.core.propagate.local_part import Belief, LocalPart
from MedPerSAMLib.core.propagate.merge import run_chains
from MedPerSAMLib.core.propagate.presence import PresenceSettings
from MedPerSAMLib.core.propagate.sides import Sides
from MedPerSAMLib.core.propagate.step import StepSettings
from MedPerSAMLib.core.sam.predictor import Predictor
from MedPerSAMLib.core.session import VolumeSession
from MedPerSAMLib.core.task import Propagation, Reference
from MedPerSAMLib.errors import ModelError


@dataclass(frozen=True)
class OneSliceMethodSettings:
    """What the one-slice methods share.

    Attributes:
        learn: how the part is fitted.
        belief: how far it is believed.
        step: how far the neighbour's mask is believed; less than a warped one.
        end: when to stop; None follows the structure to the ends of the range.
    """

    learn: OneSliceSettings = OneSliceSettings()
    belief: Belief = Belief(useless=0.0)
    step: StepSettings = StepSettings(inside=0.0, outside=1.0, growth=2.0, growth_share=0.5)
    end: PresenceSettings | None = PresenceSettings()


class OneSliceMethod(ABC):
    """Base: a subclass says what is learned.

    Args:
        settings: of the method.
    """

    summary: str
    needs_model = True

    def __init__(self, settings: OneSliceMethodSettings = OneSliceMethodSettings()) -> None:
        self.settings = settings

    @abstractmethod
    def part(self, predictor: Predictor) -> nn.Module:
        """The unfitted part on the predictor's device; its random weights follow torch's generator."""

    def propagate(
        self, session: VolumeSession, reference: Reference, progress: Progress, slices: range | None = None
    ) -> Propagation:
        """Learn from the annotated slices, then follow the structure outward from them.

        Raises:
            InputError: the reference or the range does not fit the volume.
            ModelError: the session has no model.
            Cancelled: the user asked for it.
        """
        predictor, s = session.predictor, self.settings
        if predictor is None:
            raise ModelError(f"{type(self).__name__} needs a SAM and was given none; choose a model.")
        indices = open_slices(session.volume, reference, slices)
        grid = session.grid
        local = LocalPart.fitted_on(session, reference.masks, self.part, s.learn, s.belief, progress)
        parts = ChainParts(
            planes=session.planes,
            fields=Unmoved(),
            appearance=local,
            appearance_weight=0.0,
            refiner=local,
            step=s.step,
            presence=s.end,
            step_pixels=session.volume.spacing[0] / grid.pixel,
        )
        masks = {index: grid.mask_from_native(mask) for index, mask in reference.masks.items()}
        layout = Layout.of(indices, masks)
        sides = Sides(layout, lambda _known: parts)
        return run_chains(sides, layout, grid, reference, len(session.planes), 0.0, progress)


class Unmoved:
    """Stands where neighbours' displacement fields would: masks stay where they are."""

    def carry(self, soft: np.ndarray, source: int, target: int) -> np.ndarray:
        """The (rows, columns) image itself, as float32."""
        return np.asarray(soft, np.float32)

    def has(self, pairs: Sequence[tuple[int, int]]) -> bool:
        """Nothing need be computed."""
        return True

    def prepare(self, pairs: Sequence[tuple[int, int]], progress: Progress) -> None:
        """Nothing need be computed."""
