"""All structures of one volume, one after the other, on one session."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from MedPerSAMLib.errors import Cancelled
from MedPerSAMLib.services.equipment import Equipment
from MedPerSAMLib.services.salvage import Salvage
from MedPerSAMLib.services.snapped import snapped
from MedPerSAMLib.services.terminal import TerminalProgress

if TYPE_CHECKING:
    from MedPerSAMLib.core.task import Propagation, Reference, Volume


class StructureWork:
    """The propagation of the structures of one volume; what had finished survives its end by Ctrl-C.

    Args:
        volume: the grey volume.
        references: label value -> the structure's annotated slices.
        equipment: method, model and weights.
        seed: of everything random.
        slices: which to work on; None for all.
        keep_embeddings: whether embeddings are kept on disk for the next run.

    Attributes:
        propagations: label value -> result; of an interrupted structure what was handed over.
        seconds: label value -> time taken.
    """

    def __init__(
        self,
        volume: Volume,
        references: Mapping[int, Reference],
        equipment: Equipment,
        seed: int = 0,
        slices: range | None = None,
        keep_embeddings: bool = False,
    ) -> None:
        from MedPerSAMLib.core.session import VolumeSession

        self.volume, self.references, self.equipment = volume, references, equipment
        self._slices = slices
        store = None
        if keep_embeddings:
            from MedPerSAMLib.services.embedding_store import DiskEmbeddingStore

            store = DiskEmbeddingStore()
        self._session = VolumeSession(
            volume, equipment.predictor, equipment.warp_network, seed, equipment.model_key, store
        )
        self.propagations: dict[int, Propagation] = {}
        self.seconds: dict[int, float] = {}

    def snap(self) -> None:
        """Outline what lies in the annotations, which are rough shapes; raises as :func:`snapped`."""
        self.references = snapped(self.references, self._session, self.equipment.method_name)

    def run(self, progress: TerminalProgress) -> bool:
        """Propagate one structure after the other; False where Ctrl-C ended it."""
        for number, (value, reference) in enumerate(self.references.items(), start=1):
            progress.subject = f"{reference.name} ({number} of {len(self.references)})"
            salvage = Salvage(self.volume, reference, progress)
            began = time.perf_counter()
            try:
                self.propagations[value] = self.equipment.method.propagate(
                    self._session, reference, salvage, self._slices
                )
            except (Cancelled, KeyboardInterrupt):
                self.propagations[value] = salvage.propagation()
                return False
            finally:
                self.seconds[value] = time.perf_counter() - began
                progress.subject = ""
        return True

    def has_something(self) -> bool:
        """Whether any slice besides the annotated ones is finished."""
        return any(
            np.count_nonzero(propagation.finished) > len(self.references[value].masks)
            for value, propagation in self.propagations.items()
        )
