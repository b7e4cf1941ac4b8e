"""One annotated image to another image: where there is no neighbour to carry a mask from (the paper's own setting).

Three proposals are made: the annotated outline where it lies, warped onto the target; the outline moved to where the target looks
like the structure, warped, and grown by its looks; and the outline moved to where SAM's features find its surroundings most alike,
warped. Masks from elsewhere, as of matched features, come beside them. SAM is asked about each, with its outline as a mask prompt and by
its box alone, and the answer that the signs speak for is kept. Which signs tell, looks or place, differs from structure to structure; the annotated image says so: no label of the target is
needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional as F

from MedPerSAMLib.core.appearance import Appearance, AppearanceSettings, radius
from MedPerSAMLib.core.frame import Frame
from MedPerSAMLib.core.grid import WorkingGrid
from MedPerSAMLib.core.propagate.chain import Question
from MedPerSAMLib.core.propagate.likeness import Likeness, LikenessSettings
from MedPerSAMLib.core.propagate.place import PlaceSettings, place_outline
from MedPerSAMLib.core.propagate.refiner import SamRefiner
from MedPerSAMLib.core.propagate.step import StepSettings, correct
from MedPerSAMLib.core.warp.network import WarpNetwork, warp

_LEAST = 0.01
"""A sign counts as no less, so that one alone rules nothing out."""


@dataclass(frozen=True)
class TransferSettings:
    """How an outline is carried to another image.

    Attributes:
        longest: pixels along the longer side of the working images.
        look: the appearance across images, whose brightness differs.
        place: how places and sizes are tried by looks.
        likeness: how they are found by SAM's features.
        judging: power of the predicted IoU in a proposal's score.
        looking: power of the looks where they are distinct.
        placing: power of the place where they are not.
        searching: power of how distinct the looks are, for proposals that were sought by looks in the whole image.
        recognising: power of how well the proposal would find the annotated structure again [V, as those before: some targets of
            each of three references in six sets of pictures and two of slices].
        returning: power of how well the whole way back finds the annotated structure [V: of 0.1 to 2, on two references of
            the same sets, of chaos_t2 its liver alone; a third reference of five of them agreed].
        alternatives: whether SAM is first asked for three masks (``RefinerSettings``).
        rounds: decoder passes after the first (``RefinerSettings``). One less than in a volume: each moves an outline further from
            the proposal's, which on another patient may be the wrong thing; a second took 0.075 from the Dice of fetal heads.
        redraw: whether SAM is also asked by each proposal's box alone, without its mask: what is carried to another patient lies only
            roughly where the structure is, and a mask prompt holds SAM to its outline.
        held: what a proposal that was held to its outline counts beside one drawn by its box, as SAM thinks well of what it was given [V,
            with ``looking``: two references each of five sets of pictures, one of acdc].
        growth_steps: corrections by appearance and SAM of a proposal.
        step_pixels: how much a correction may change, as a distance between slices would.
    """

    longest: int = 128
    look: AppearanceSettings = AppearanceSettings(steps=300, unlabelled=0.0)
    place: PlaceSettings = PlaceSettings()
    likeness: LikenessSettings = field(default_factory=LikenessSettings)
    judging: float = 2.0
    looking: float = 0.75
    placing: float = 1.0
    searching: float = 0.25
    recognising: float = 1.0
    returning: float = 0.2
    alternatives: bool = True
    rounds: int = 1
    redraw: bool = True
    held: float = 0.8
    growth_steps: int = 5
    step_pixels: float = 6.0


@dataclass(frozen=True)
class Proposal:
    """A mask on the target's working grid.

    Attributes:
        mask: (rows, columns) bool, not empty.
        log_odds: (rows, columns) float32.
        score: what speaks for it, 0..1; also the confidence of the result.
    """

    mask: np.ndarray
    log_odds: np.ndarray
    score: float


@dataclass(frozen=True)
class _Begun:
    """A mask on the target's working grid from which proposals are made.

    Attributes:
        mask: (rows, columns) bool, not empty.
        grow: whether it is grown by its looks.
        sought: whether it was found by looks in the whole image.
    """

    mask: np.ndarray
    grow: bool = False
    sought: bool = False


class ImagePair:
    """An annotated working image and a target working image.

    Args:
        image, target: (rows, columns) float32 in 0..1, or (rows, columns, 3), of different sizes.
        mask: (rows, columns) bool of the annotated image.
        network: the warping network; None leaves proposals unwarped.
        appearance: trained on ``image`` as index 0; the target is its index 1.
        appearance_weight: of its log-odds; 0 makes no use of the looks.
        distinct: how much less any other place looks like the structure, 0..1, from :func:`distinct.distinct_looks`: by so much the
            looks count, and the place by the rest.
        refiner: SAM about the target; None leaves SAM out.
        settings: how.
        step: how far a proposal is believed.
        likeness: where the model's features look like the structure; None leaves it out.
        recognise: how well a non-empty (rows, columns) bool mask of the target would find the annotated structure again, 0..1; None
            leaves it out.
        way_back: how much of the annotated structure is found with such a mask as the annotation, 0..1; None leaves it out. It is asked
            only about proposals that may yet win.
    """

    def __init__(
        self,
        image: np.ndarray,
        mask: np.ndarray,
        target: np.ndarray,
        network: WarpNetwork | None,
        appearance: Appearance,
        appearance_weight: float,
        distinct: float,
        refiner: SamRefiner | None,
        settings: TransferSettings,
        step: StepSettings,
        likeness: Likeness | None = None,
        recognise: Callable[[np.ndarray], float] | None = None,
        way_back: Callable[[np.ndarray], float] | None = None,
    ) -> None:
        self._likeness, self._recognise, self._way_back = likeness, recognise, way_back
        self._image, self._mask, self._target = _grey(image), mask, _grey(target)
        self._network, self._refiner, self._settings, self._step = network, refiner, settings, step
        self._weight, self._distinct = appearance_weight, distinct
        self._looks = appearance.log_odds(1, (slice(0, target.shape[0]), slice(0, target.shape[1])))
        self._probability = 1 / (1 + np.exp(-self._looks))

    def best(self, elsewhere: Sequence[np.ndarray] = ()) -> Proposal:
        """The proposal that the signs speak for.

        Args:
            elsewhere: further (rows, columns) bool masks, found by looks or features anywhere in the target.
        """
        start = _resized(self._mask, self._target.shape)
        begun = [_Begun(self._warped(start))]
        begun += [_Begun(mask, sought=True) for mask in elsewhere if mask.any()]
        if self._weight:
            placed = place_outline(start, self._looks, self._settings.place)
            begun.append(_Begun(self._warped(placed), grow=True, sought=True))
        if self._likeness is not None:
            placed = self._moved(*self._likeness.best())
            if placed.any():
                begun.append(_Begun(self._warped(placed)))
        proposals = [self._finish(one) for one in begun]
        if self._redraws:
            proposals += [drawn for one in begun if (drawn := self._redrawn(one)) is not None]
        return self._judged_by_the_way_back(proposals)

    def _judged_by_the_way_back(self, proposals: Sequence[Proposal]) -> Proposal:
        """The best proposal once the way back has been gone for all that may be it."""
        best = None
        for proposal in sorted(proposals, key=lambda one: -one.score):
            if best is not None and proposal.score <= best.score:
                break  # the way back makes no score larger
            if self._way_back is not None:
                found = min(1.0, max(_LEAST, self._way_back(proposal.mask)))
                proposal = replace(proposal, score=proposal.score * found**self._settings.returning)
            if best is None or proposal.score > best.score:
                best = proposal
        return best

    @property
    def _redraws(self) -> bool:
        return self._refiner is not None and self._settings.redraw

    def _redrawn(self, begun: _Begun) -> Proposal | None:
        """What SAM sees in the box of a mask; None where that is nothing."""
        answer = self._refiner.by_box(0, begun.mask)
        mask = answer.log_odds > 0
        if not mask.any():
            return None
        return Proposal(mask, answer.log_odds, self._score(mask, {"predicted_iou": answer.predicted_iou}, begun.sought))

    def _finish(self, begun: _Begun) -> Proposal:
        mask, grow = begun.mask, begun.grow
        signs: dict[str, float] = {}
        log_odds = np.where(mask, 1.0, -1.0).astype(np.float32)
        steps = self._settings.growth_steps if grow else int(self._refiner is not None)
        everything = (slice(0, mask.shape[0]), slice(0, mask.shape[1]))
        for number in range(steps):
            evidence = [self._weight * self._looks] if grow else []
            if self._refiner is not None and number in (0, steps - 1):
                said, signs = self._refiner([Question(0, mask, everything)])[0]
                evidence += [] if said is None else [said]
            changed, odds = correct(mask, evidence, self._settings.step_pixels, self._step)
            if not changed.any():
                break
            mask, log_odds = changed, odds
        trust = self._settings.held if self._redraws else 1.0
        return Proposal(mask, log_odds, trust * self._score(mask, signs, begun.sought))

    def _score(self, mask: np.ndarray, signs: Mapping[str, float], sought: bool) -> float:
        """What speaks for a mask, 0..1: what SAM thinks of it, its looks, its place, how it was found, and the way back."""
        s = self._settings
        counted = [(signs["predicted_iou"], s.judging)] if "predicted_iou" in signs else []
        if self._weight:
            counted.append((expected_dice(mask, self._probability), s.looking * self._distinct))
        if self._likeness is not None:
            counted.append((self._likeness.at(mask), s.placing * (1 - self._distinct)))
        if sought and self._weight:
            counted.append((self._distinct, s.searching))
        if self._recognise is not None:
            counted.append((self._recognise(mask), s.recognising))
        return math.prod(min(1.0, max(_LEAST, value)) ** power for value, power in counted) if counted else 0.5

    def _moved(self, centre: tuple[int, int], scale: float) -> np.ndarray:
        """The annotated outline at a place of the target's working grid, ``scale`` times as large in its image."""
        sources = self._sources(centre, scale * max(self._target.shape) / max(self._mask.shape))
        return ndimage.map_coordinates(self._mask.astype(np.float32), sources, order=1) > 0.5

    def _sources(self, place: Sequence[float], scale: float) -> list[np.ndarray]:
        """Where on the annotated image each target pixel lies if the mask's centre is at ``place`` and its size ``scale`` times its own."""
        centre = np.argwhere(self._mask).mean(axis=0)
        axes = np.mgrid[: self._target.shape[0], : self._target.shape[1]]
        return [(axis - p) / scale + c for axis, p, c in zip(axes, place, centre)]

    def _warped(self, outline: np.ndarray) -> np.ndarray:
        """The annotated mask, moved and scaled like ``outline`` and warped onto the target."""
        if self._network is None:
            return outline
        sources = self._sources(np.argwhere(outline).mean(axis=0), radius(outline) / radius(self._mask))
        moved = ndimage.map_coordinates(self._image, sources, order=1, mode="nearest")
        mask = ndimage.map_coordinates(self._mask.astype(np.float32), sources, order=1)
        side = math.ceil(self._settings.longest / 16) * 16
        frame = Frame.full(self._target.shape, (1.0, 1.0), side)
        with torch.inference_mode():
            frames = [frame.sample(_tensor(plane)) for plane in (moved, self._target, mask)]
            device = next(self._network.parameters()).device
            field = self._network(frames[0].to(device), frames[1].to(device)).cpu()
            carried = frame.restore(warp(frames[2], field), self._target.shape, 0.0)[0, 0].numpy() > 0.5
        return carried if carried.any() else outline


def expected_dice(mask: np.ndarray, probability: np.ndarray) -> float:
    """Soft Dice of a bool mask and the (rows, columns) probability that each pixel belongs to the structure, 0..1.

    Contrast asks only whether a mask holds what looks right; this also asks whether it holds all of it.
    """
    return float(2 * probability[mask].sum() / max(mask.sum() + probability.sum(), 1e-6))


def working_image(image: np.ndarray, longest: int) -> tuple[WorkingGrid, np.ndarray]:
    """The working grid of a 2D image with square pixels, and the (rows, columns) or (rows, columns, 3) image on it."""
    grid = WorkingGrid.of(image.shape[:2], (1.0, 1.0), longest)
    if image.ndim == 2:
        return grid, grid.from_native(image[None])[0]
    return grid, np.moveaxis(grid.from_native(np.moveaxis(image, -1, 0)), 0, -1)


def same_channels(image: np.ndarray, like: np.ndarray) -> np.ndarray:
    """A grey image as colour or a colour image as grey, where ``like`` is the other."""
    if image.ndim == like.ndim:
        return image
    return _grey(image) if like.ndim == 2 else np.repeat(image[..., None], 3, axis=-1)


def _grey(image: np.ndarray) -> np.ndarray:
    return image if image.ndim == 2 else image.mean(axis=-1)


def _resized(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The mask stretched to another image's shape, as ``copy`` does it."""
    soft = F.interpolate(_tensor(mask), shape, mode="bilinear", align_corners=False, antialias=True)[0, 0].numpy()
    return soft >= min(0.5, float(soft.max()))


def _tensor(plane: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(plane, np.float32))[None, None]
