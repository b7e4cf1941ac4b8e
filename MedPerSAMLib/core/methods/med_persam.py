"""Med-PerSAM: one annotated slice, a light warp that proposes, a frozen SAM that refines, and a volume in the end.

An independent implementation of the published idea (Med-PerSAM, abstract and Figure 1), with what a volume needs beyond it
(METHOD.md section 1). Every step can be switched off by :class:`Settings`.
"""

from __future__ import annotations

from dataclasses import dataclass

from MedPerSAMLib.core.appearance import Appearance, AppearanceSettings
from MedPerSAMLib.core.methods.slicewise import open_slices
from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.core.propagate.ask import Questioner, RefinerSettings
from MedPerSAMLib.core.propagate.chain import ChainParts
from MedPerSAMLib.core.propagate.merge import Layout, run_chains
from MedPerSAMLib.core.propagate.presence import PresenceSettings
from MedPerSAMLib.core.propagate.refiner import SamRefiner
from MedPerSAMLib.core.propagate.step import StepSettings
from MedPerSAMLib.core.session import VolumeSession
from MedPerSAMLib.core.task import Propagation, Reference
from MedPerSAMLib.errors import ModelError


@dataclass(frozen=True)
class Settings:
    """The steps of Med-PerSAM and their parts.

    Attributes:
        sam: ask SAM at all; ``refine`` says how.
        appearance: correct each step by the appearance learned on the annotated slices.
        presence: stop where the structure ends.
        smoothing: Gaussian width across slices of the final log-odds, in slices; 0 leaves them.
        appearance_weight: of the appearance's log-odds in a step.
        step, look, end, refine: settings of the parts.
    """

    sam: bool = True
    appearance: bool = True
    presence: bool = True
    smoothing: float = 0.0
    appearance_weight: float = 0.5
    step: StepSettings = StepSettings()
    look: AppearanceSettings = AppearanceSettings()
    end: PresenceSettings = PresenceSettings()
    refine: RefinerSettings = RefinerSettings()


class MedPerSAM:
    """The whole method.

    Args:
        settings: which steps, and how.
    """

    summary = "warp proposes, frozen SAM refines, appearance keeps it from drifting; stops where the structure ends"
    needs_model = True

    def __init__(self, settings: Settings = Settings()) -> None:
        self.settings = settings

    def propagate(
        self, session: VolumeSession, reference: Reference, progress: Progress, slices: range | None = None
    ) -> Propagation:
        """Follow the structure from its annotated slices to both ends.

        Raises:
            InputError: the reference or the range does not fit the volume.
            ModelError: the session has no model, or no warp.
            Cancelled: the user asked for it.
        """
        s = self.settings
        indices = open_slices(session.volume, reference, slices)
        if session.warp_network is None:
            raise ModelError("Med-PerSAM needs the warp's weights and was given none; install MedPerSAM again.")
        if s.sam and session.predictor is None:
            raise ModelError("Med-PerSAM needs a SAM and was given none; choose a model, or the method 'warp'.")
        grid, planes = session.grid, session.planes
        masks = {index: grid.mask_from_native(mask) for index, mask in reference.masks.items()}
        layout = Layout.of(indices, masks)
        session.fields.prepare(layout.pairs(), progress)
        progress.step("learning the appearance", 0, 1)
        appearance = Appearance(planes, masks, s.look, session.seed)
        refiner = None
        if s.sam:
            progress.step("calibrating SAM on the annotated slice", 0, 1)
            questioner = Questioner(
                session.predictor, session.embedder, grid, session.in_plane_spacing, s.refine, session.seed
            )
            refiner = SamRefiner(questioner, questioner, masks, s.refine, session.seed)
        parts = ChainParts(
            planes,
            session.fields,
            appearance,
            s.appearance_weight if s.appearance else 0.0,
            refiner,
            s.step,
            s.end if s.presence else None,
            session.volume.spacing[0] / grid.pixel,
            grid.pixel,
        )
        return run_chains(parts, layout, grid, reference, len(planes), s.smoothing, progress)
