"""The warp alone: the annotated mask carried from slice to slice, with nothing that corrects it or stops it."""

from __future__ import annotations

from MedPerSAMLib.core.methods.med_persam import MedPerSAM, Settings


class WarpOnly(MedPerSAM):
    """Med-PerSAM with every step but the warp switched off."""

    summary = "the warping network alone, from slice to slice; no SAM, no correction, no end"
    needs_model = False

    def __init__(self, settings: Settings = Settings(sam=False, appearance=False, presence=False)) -> None:
        super().__init__(settings)
