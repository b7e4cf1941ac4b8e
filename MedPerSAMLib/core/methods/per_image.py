"""Methods that see one annotated image and one target at a time, applied to a volume slice by slice.

PerSAM, PerSAM-F and Matcher are such methods. Their papers know no volume: here every slice is a target of its own, with
the nearest annotated slice as the annotated image. They have no test of presence, so every slice gets a mask.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from MedPerSAMLib.core.frame import Frame, mask_extent, zoom_side_mm
from MedPerSAMLib.core.methods.slicewise import Collector, annotated_mask, by_nearest_reference, open_slices
from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.core.sam.predictor import Decoded, Predictor
from MedPerSAMLib.core.session import ImageSession, VolumeSession
from MedPerSAMLib.core.task import Propagation, Reference, Transfer
from MedPerSAMLib.errors import ModelError

_BACKGROUND_LOGIT = -10.0
"""What lies beyond the frame: a clear background (METHOD.md section 1, Prompts)."""


@dataclass(frozen=True)
class PerImageSettings:
    """What all per-image methods share.

    Attributes:
        zoom_share: for volumes, the part of the frame's side that the box of the nearest annotated mask spans; None
            shows the whole slice, as the papers do. Other images are always shown whole: where the structure lies in
            them is not known.
    """

    zoom_share: float | None = None


@dataclass(frozen=True)
class Annotated:
    """The annotated image as a method sees it.

    Attributes:
        embedding: (C, e, e).
        mask: (s, s) float, part of each frame pixel that belongs to the structure.
        on_image: (s, s) bool, frame pixels that show the image and not padding.
    """

    embedding: torch.Tensor
    mask: torch.Tensor
    on_image: torch.Tensor


class PerImageMethod(ABC):
    """Base of the per-image methods: a subclass says what it learns from one image and how it segments another.

    Args:
        settings: of the method; the class's defaults where None.
    """

    summary: str
    needs_model = True
    phase: str
    settings_class: type[PerImageSettings] = PerImageSettings
    targets_at_once = 8
    """Targets segmented between two looks at the cancel button."""

    def __init__(self, settings: PerImageSettings | None = None) -> None:
        self.settings = self.settings_class() if settings is None else settings

    @abstractmethod
    def learn(self, predictor: Predictor, annotated: Annotated, progress: Progress) -> Any:
        """What :meth:`segment` needs to know of the annotated image; must not depend on targets."""

    @abstractmethod
    def segment(
        self, predictor: Predictor, learned: Any, embeddings: torch.Tensor, on_image: torch.Tensor, seed: int
    ) -> Decoded:
        """The structure in (B, C, e, e) embeddings of targets whose frames show the image where ``on_image`` (s, s).

        Returns:
            One mask each: logits (B, 1, m, m) and predicted IoU (B, 1). A target's mask does not depend on the others.
        """

    def propagate(
        self, session: VolumeSession, reference: Reference, progress: Progress, slices: range | None = None
    ) -> Propagation:
        """Segment every slice of the range, each after the nearest annotated slice.

        Raises:
            InputError: the reference or the range does not fit the volume.
            ModelError: the session has no model.
            Cancelled: the user asked for it.
        """
        predictor = _model_of(session, self)
        indices = open_slices(session.volume, reference, slices)
        shape = session.volume.slice_shape
        collector = Collector(session.volume, reference, progress, self.phase, len(indices))
        for index, members in by_nearest_reference(indices, reference.masks).items():
            if not members:
                continue
            mask = reference.masks[index]
            frame = self._frame(mask, session.in_plane_spacing, predictor.frame_size)
            on_image = _sampled(frame, np.ones(shape, bool)) > 0.5
            embedding = session.embedder.embed([index], frame)[0]
            learned = self.learn(predictor, Annotated(embedding, _sampled(frame, mask), on_image), progress)
            for start in range(0, len(members), predictor.batch):
                part = members[start : start + predictor.batch]
                embeddings = session.embedder.embed(part, frame, progress)
                for few in range(0, len(part), self.targets_at_once):
                    few = slice(few, few + self.targets_at_once)
                    decoded = self.segment(predictor, learned, embeddings[few], on_image, session.seed)
                    masks = frame.restore(decoded.logits, shape, _BACKGROUND_LOGIT)[:, 0].cpu().numpy() > 0
                    for member, found, iou in zip(part[few], masks, decoded.predicted_iou[:, 0].tolist()):
                        collector.add(member, found, iou, {"predicted_iou": iou})
        return collector.result()

    def transfer(self, session: ImageSession, progress: Progress) -> list[Transfer]:
        """Segment every target image after the annotated one, all shown whole.

        The listener gets each finished target as a slice, whose index is the target's number.

        Raises:
            InputError: the mask is empty or does not fit the annotated image.
            ModelError: the session has no model.
            Cancelled: the user asked for it.
        """
        learned = self.learn_from(session, progress)
        transfers = []
        for number in range(len(session.targets)):
            transfers.append(self.find_in(session, learned, number))
            progress.slice_done(number, transfers[-1].mask, transfers[-1].confidence)
            progress.step(self.phase, number + 1, len(session.targets))
        return transfers

    def learn_from(self, session: ImageSession, progress: Progress) -> Any:
        """What :meth:`find_in` needs to know of the annotated image, shown whole.

        Raises:
            InputError: the mask is empty or does not fit the annotated image.
            ModelError: the session has no model.
        """
        predictor, mask = _model_of(session, self), annotated_mask(session)
        frame = Frame.full(mask.shape, (1.0, 1.0), predictor.frame_size)
        embedding = session.embedder(None).embed([0], frame)[0]
        on_image = _sampled(frame, np.ones(mask.shape, bool)) > 0.5
        return self.learn(predictor, Annotated(embedding, _sampled(frame, mask), on_image), progress)

    def find_in(self, session: ImageSession, learned: Any, number: int) -> Transfer:
        """The structure in target image ``number``, shown whole, by what :meth:`learn_from` gave."""
        predictor, shape = _model_of(session, self), session.targets[number].shape[:2]
        frame = Frame.full(shape, (1.0, 1.0), predictor.frame_size)
        on_image = _sampled(frame, np.ones(shape, bool)) > 0.5
        embeddings = session.embedder(number).embed([0], frame)
        decoded = self.segment(predictor, learned, embeddings, on_image, session.seed)
        found = frame.restore(decoded.logits, shape, _BACKGROUND_LOGIT)[0, 0].cpu().numpy() > 0
        return Transfer(found, float(decoded.predicted_iou[0, 0]))

    def _frame(self, mask: np.ndarray, spacing: tuple[float, float], size: int) -> Frame:
        """The whole slice, or the neighbourhood of the annotated mask."""
        if self.settings.zoom_share is None:
            return Frame.full(mask.shape, spacing, size)
        centre, extent = mask_extent(mask)
        extent_mm = (extent[0] * spacing[0], extent[1] * spacing[1])
        return Frame.around(centre, zoom_side_mm(extent_mm, self.settings.zoom_share), spacing, size)


def any_coverage(frame_mask: torch.Tensor, size: int) -> torch.Tensor:
    """(size, size) bool, the cells that the structure of a (s, s) frame mask touches at all."""
    return F.adaptive_max_pool2d((frame_mask > 0).float()[None, None], size)[0, 0] > 0


def _sampled(frame: Frame, mask: np.ndarray) -> torch.Tensor:
    """A (rows, columns) bool mask in the frame: (s, s) float."""
    return frame.sample(torch.from_numpy(np.ascontiguousarray(mask, np.float32))[None, None])[0, 0]


def _model_of(session: VolumeSession | ImageSession, method: PerImageMethod) -> Predictor:
    if session.predictor is None:
        raise ModelError(f"{type(method).__name__} needs a SAM and was given none; choose a model.")
    return session.predictor
