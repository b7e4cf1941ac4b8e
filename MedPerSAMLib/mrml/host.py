"""What a section of the panel needs of the presenter of the whole panel."""

from __future__ import annotations

from typing import Protocol

import slicer

from MedPerSAMLib.mrml.choices import Parameters
from MedPerSAMLib.mrml.model_presenter import ModelPresenter
from MedPerSAMLib.mrml.panel_state import PanelState


class Host(Protocol):
    """The presenter of the whole panel, as far as every section needs it."""

    parameters: Parameters | None
    state: PanelState
    models: ModelPresenter

    def tell(self, sentence: str) -> None:
        """Show a sentence and put it into the log."""

    def explain(self, error: Exception, what: str) -> str:
        """The sentence about an error, after its details went into the log where nobody foresaw it."""

    def install(self) -> None:
        """Install missing packages, with consent."""

    def editor(self) -> slicer.vtkMRMLSegmentEditorNode | None:
        """Segment Editor's node; None before it was first opened."""
