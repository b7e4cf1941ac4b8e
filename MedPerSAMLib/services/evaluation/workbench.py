"""What all work of one run shares: the model, the warp's weights and the methods to compare."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.services.evaluation.variants import Variant

if TYPE_CHECKING:
    from MedPerSAMLib.core.session import ImageSession, VolumeSession
    from MedPerSAMLib.core.task import Volume
    from MedPerSAMLib.core.warp.network import WarpNetwork


@dataclass(frozen=True)
class Options:
    """What a run was asked for; plain values, so that it can be handed to another process.

    Attributes:
        model: name or path of the model; None to load none.
        device: "auto", "cpu", "cuda" or "mps".
        seed: the one seed of everything random.
        variants: the methods to compare, in the order of the tables.
        kinds: the prompt kinds to compare, where a protocol compares those.
        labels: names of the structures to measure; all if empty.
        share_sessions: whether the methods of a case use one session. Faster, but a later method's seconds then lack
            what an earlier one computed.
        together: whether the structures of a volume exclude each other, as they do where several are propagated at once.
    """

    model: str | None = None
    device: str = "auto"
    seed: int = 0
    variants: tuple[Variant, ...] = ()
    kinds: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    share_sessions: bool = False
    together: bool = False


@dataclass
class Workbench:
    """A model in memory and the options of the run.

    Attributes:
        options: of the run.
        predictor: the frozen SAM; None where no method needs one.
        warp_path: safetensors file of the warping network's starting weights; None where none are shipped.
        model: name of the model, None without one.
        checksum: SHA-256 of its file, None without one.
        device: a sentence naming the device and why it was chosen.
        progress: where methods report to.
        notes: what the reader of the figures must know.
    """

    options: Options
    predictor: object | None = None
    warp_path: Path | None = None
    model: str | None = None
    checksum: str | None = None
    device: str = "cpu"
    progress: Progress = field(default_factory=Progress)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, options: Options) -> Workbench:
        """Load the model, if the options name one, and the warp's weights.

        Raises:
            ModelError: the model is unknown, missing or damaged.
        """
        bench = cls(options)
        if options.model is not None:
            from MedPerSAMLib.services.models.load import choose_device, load_predictor

            device, bench.device = choose_device(options.device)
            loaded = load_predictor(options.model, device)
            bench.predictor, bench.model, bench.checksum = loaded.predictor, loaded.name, loaded.checksum
        bench.warp_path = bench._find_warp()
        return bench

    @functools.cached_property
    def warp_network(self) -> WarpNetwork | None:
        """The warping network itself; None where no weights are shipped."""
        from MedPerSAMLib.core.warp.network import load_warp

        return None if self.warp_path is None else load_warp(self.warp_path)

    def _find_warp(self) -> Path | None:
        from MedPerSAMLib.weights import weights_path

        try:
            return weights_path("warp")
        except FileNotFoundError as error:
            self.notes.append(f"No starting weights for the warp, it starts from the identity: {error}")
            return None

    def sessions(self, volume: Volume) -> Iterator[tuple[Variant, VolumeSession]]:
        """Each method to compare with the session that its structures of this volume share."""
        shared = None
        for variant in self.options.variants:
            if shared is None or not self.options.share_sessions:
                shared = self.session(volume)
            yield variant, shared

    def session(self, volume: Volume) -> VolumeSession:
        """A session on a volume."""
        from MedPerSAMLib.core.session import VolumeSession

        return VolumeSession(volume, self.predictor, self.warp_network, self.options.seed, self.model or "")

    def image_session(self, image: np.ndarray, mask: np.ndarray, targets: Sequence[np.ndarray]) -> ImageSession:
        """A session that carries the (rows, columns) bool mask of an image to the target images."""
        from MedPerSAMLib.core.session import ImageSession

        return ImageSession(image, mask, targets, self.predictor, self.warp_network, self.options.seed)

    def announce(self, *subject: str) -> None:
        """Say what is worked on, to a listener that shows it."""
        self.progress.subject = " ".join(subject)

    def wanted(self, labels: Mapping[int, str]) -> dict[int, str]:
        """The label values and names that the options ask for."""
        return {value: name for value, name in labels.items() if not self.options.labels or name in self.options.labels}
