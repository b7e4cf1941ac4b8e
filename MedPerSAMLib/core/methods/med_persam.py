"""Med-PerSAM: one annotated slice, a light warp that proposes, a frozen SAM that refines, and a volume in the end.

An independent implementation of the published idea (Med-PerSAM, abstract and Figure 1), with what a volume needs beyond it
(METHOD.md section 1). Every step can be switched off by :class:`Settings`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from MedPerSAMLib.core.appearance import Appearance, AppearanceSettings
from MedPerSAMLib.core.digest import digest
from MedPerSAMLib.core.frame import Frame
from MedPerSAMLib.core.learn.one_slice import OneSliceSettings, untrained_head
from MedPerSAMLib.core.methods.matcher import Matcher, MatcherSettings
from MedPerSAMLib.core.methods.persam import PerSAM, PerSAMSettings
from MedPerSAMLib.core.methods.slicewise import annotated_mask, open_slices
from MedPerSAMLib.core.methods.way_back import WayBack
from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.core.propagate.anchor import Anchor
from MedPerSAMLib.core.propagate.ask import Questioner, RefinerSettings
from MedPerSAMLib.core.propagate.chain import ChainParts, joined
from MedPerSAMLib.core.propagate.distinct import distinct_looks
from MedPerSAMLib.core.propagate.layout import Layout
from MedPerSAMLib.core.propagate.likeness import Likeness, Window, annotated_windows, image_features
from MedPerSAMLib.core.propagate.local_part import Belief, LocalPart
from MedPerSAMLib.core.propagate.meeting import MeetingSettings
from MedPerSAMLib.core.propagate.merge import run_chains
from MedPerSAMLib.core.propagate.presence import PresenceSettings
from MedPerSAMLib.core.propagate.recognise import recognised
from MedPerSAMLib.core.propagate.refiner import Calibration, SamRefiner, calibrate
from MedPerSAMLib.core.propagate.retraining import mean_confidence, trusted_slices
from MedPerSAMLib.core.propagate.sides import Make, Sides
from MedPerSAMLib.core.propagate.step import StepSettings
from MedPerSAMLib.core.propagate.transfer import (
    ImagePair,
    TransferSettings,
    same_channels,
    working_image,
)
from MedPerSAMLib.core.session import ImageSession, VolumeSession
from MedPerSAMLib.core.task import Propagation, Reference, Transfer
from MedPerSAMLib.core.warp.fields import NeighbourFields
from MedPerSAMLib.core.warp.tune import TuneSettings
from MedPerSAMLib.errors import ModelError


@dataclass(frozen=True)
class Settings:
    """The steps of Med-PerSAM and their parts.

    Attributes:
        sam: ask SAM at all; ``refine`` says how.
        appearance: correct each step by the appearance learned on the annotated slices.
        head: add a convolutional head learned on copies of the annotated slices, believed as well as it separates held-out
            copies (METHOD.md section 4, one-slice form). Off: the mean Dice of the first one or two volumes
            changed by -0.014 (hippocampus), -0.003 (acdc), +0.026 (la_mri) and 0.000 (chaos_t2), in a multiple of the time.
        anchor: weight of the annotated mask that is warped onto each slice at once, beside the chain; 0 for none. Off: 0.3 and
            0.8 changed the mean Dice of four hippocampi by -0.004 and -0.013, of three hearts by -0.001 and -0.010.
        presence: stop where the structure ends.
        retraining: rounds in which the refined masks retrain the warp; a round is kept only where the mean confidence
            does not fall. Off: a round takes several times as long as all the rest, and changed the Dice of six structures in
            four volumes (hippocampus, acdc; without SAM) by 0.000 to -0.004.
        least_trust: predicted IoU times agreement (or the confidence, without SAM) below which a mask teaches nothing.
        smoothing: Gaussian width of the smoothing across slices, in slices; 0 leaves the outlines as they are.
        appearance_weight: of the appearance's log-odds in a step.
        matching: let Matcher and PerSAM propose masks too, and Matcher judge all proposals by the way back, for other images (not for
            volumes, whose slices are neighbours); needs ``sam``.
        likeness: propose the place whose surroundings SAM's features find most alike, for other images; needs ``sam``.
        step, look, end, meet, refine, carry, matcher, persam, tune, head_learn, head_belief: settings of the parts.
    """

    sam: bool = True
    appearance: bool = True
    head: bool = False
    anchor: float = 0.0
    presence: bool = True
    retraining: int = 0
    least_trust: float = 0.7
    smoothing: float = 0.0
    matching: bool = True
    likeness: bool = True
    appearance_weight: float = 0.5
    step: StepSettings = StepSettings()
    look: AppearanceSettings = AppearanceSettings()
    end: PresenceSettings = PresenceSettings()
    meet: MeetingSettings = MeetingSettings()
    refine: RefinerSettings = RefinerSettings()
    carry: TransferSettings = TransferSettings()
    matcher: MatcherSettings = field(default_factory=MatcherSettings)
    persam: PerSAMSettings = field(default_factory=PerSAMSettings)
    tune: TuneSettings = TuneSettings()
    head_learn: OneSliceSettings = OneSliceSettings()
    head_belief: Belief = Belief(weight=0.5)


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
        self._check_equipment(session)
        grid = session.grid
        masks = {index: grid.mask_from_native(mask) for index, mask in reference.masks.items()}
        layout = Layout.of(indices, masks)

        def make(fields: NeighbourFields) -> Make:
            return lambda known: self._parts(session, reference, known, fields, progress)

        sides = Sides(layout, make(session.fields), session.sides, s)
        result = run_chains(sides, layout, grid, reference, len(session.planes), s.smoothing, progress, s.meet)
        for _ in range(s.retraining):
            refined = trusted_slices(result, grid, reference, s.least_trust)
            fields = session.fields.tuned(layout.pairs(), masks, refined, s.tune, session.seed, progress)
            sides = Sides(layout, make(fields))
            again = run_chains(sides, layout, grid, reference, len(session.planes), s.smoothing, progress, s.meet)
            if mean_confidence(again) < mean_confidence(result):
                break
            result = again
        return result

    def _parts(
        self,
        session: VolumeSession,
        reference: Reference,
        known: Mapping[int, np.ndarray],
        fields: NeighbourFields,
        progress: Progress,
    ) -> ChainParts:
        """What is learned from the annotations of one side, (rows, columns) bool on the working grid."""
        s, grid = self.settings, session.grid
        progress.step("learning the appearance", 0, 1)
        appearance = Appearance(session.planes, known, s.look, session.seed)
        refiners, sam = [], None
        if s.sam:
            progress.step("calibrating SAM on the annotated slice", 0, 1)
            questioner = Questioner(
                session.predictor, session.embedder, grid, session.in_plane_spacing, s.refine, session.seed
            )
            sam = SamRefiner(questioner, known, s.refine, self._calibration(session, questioner, known))
            refiners.append(sam)
        if s.head:
            native = {index: reference.masks[index] for index in known}
            refiners.append(LocalPart.fitted_on(session, native, untrained_head, s.head_learn, s.head_belief, progress))
        if s.anchor:
            refiners.append(Anchor(fields, known, s.anchor))
        return ChainParts(
            session.planes,
            fields,
            appearance,
            s.appearance_weight if s.appearance else 0.0,
            joined(refiners),
            s.step,
            s.end if s.presence else None,
            session.volume.spacing[0] / grid.pixel,
            1 if session.predictor is None else session.predictor.batch,
            sam,
        )

    def _calibration(
        self, session: VolumeSession, questioner: Questioner, known: Mapping[int, np.ndarray]
    ) -> Calibration:
        """By the largest of some annotations; a correction, which is smaller, finds that of the first run."""
        index = max(known, key=lambda i: np.count_nonzero(known[i]))
        key = (self.settings.refine, index, digest(known[index]))
        if key not in session.calibrations:
            session.calibrations[key] = calibrate(
                questioner, index, known[index], self.settings.refine, session.seed
            )
        return session.calibrations[key]

    def transfer(self, session: ImageSession, progress: Progress) -> list[Transfer]:
        """Carry the annotated image's mask to every target image.

        The listener gets each finished target as a slice, whose index is the target's number.

        Raises:
            InputError: the mask is empty or does not fit its image.
            ModelError: the session has no model, or no warp.
            Cancelled: the user asked for it.
        """
        s = self.settings
        refine = dataclasses.replace(s.refine, alternatives=s.carry.alternatives, rounds=s.carry.rounds)
        self._check_equipment(session)
        annotated = annotated_mask(session)
        grid, image = working_image(session.image, s.carry.longest)
        mask = grid.mask_from_native(annotated)
        progress.step("learning the appearance", 0, 1)
        planes = [image, image]
        appearance = Appearance(planes, {0: mask}, s.carry.look, session.seed)
        everything = (slice(0, mask.shape[0]), slice(0, mask.shape[1]))

        def probability(copy: np.ndarray) -> np.ndarray:
            planes[1] = copy
            return 1 / (1 + np.exp(-appearance.log_odds(1, everything)))

        distinct = distinct_looks(image, mask, probability) if s.appearance else 0.0
        annotated_refiner = shown = None
        if s.sam:
            asked = Questioner(session.predictor, session.embedder(None), grid, (1.0, 1.0), refine, session.seed)
            calibration = calibrate(asked, 0, mask, refine, session.seed)
            annotated_refiner = SamRefiner(asked, {0: mask}, refine, calibration)
            shown = asked.show(0, mask)
        windows = []
        if s.likeness and s.sam:
            size = session.predictor.frame_size
            windows = annotated_windows(session.embedder(None), annotated, size, s.carry.likeness)
        matcher = Matcher(s.matcher)
        others = [matcher, PerSAM(s.persam)] if s.matching and s.sam else []
        back = WayBack(matcher, session, progress) if others and s.carry.returning else None
        learned = [other.learn_from(session, progress) for other in others]
        transfers = []
        for number, native in enumerate(session.targets):
            progress.step("carrying the mask", number, len(session.targets))
            target_grid, target = working_image(same_channels(native, session.image), s.carry.longest)
            planes[1] = target
            refiner = recognise = None
            if annotated_refiner is not None:
                embedder = session.embedder(number)
                about = Questioner(session.predictor, embedder, target_grid, (1.0, 1.0), refine, session.seed)
                refiner = annotated_refiner.on(about)
                recognise = lambda found, about=about: recognised(shown, about.show(0, found))
            weight = s.appearance_weight if s.appearance else 0.0
            likeness = None
            if windows:
                likeness = self._likeness(windows, session, number, mask, target.shape[:2])
            pair = ImagePair(
                image,
                mask,
                target,
                session.warp_network,
                appearance,
                weight,
                distinct,
                refiner,
                s.carry,
                s.step,
                likeness,
                recognise,
                None if back is None else functools.partial(back.finds, number, target_grid),
            )
            found = [other.find_in(session, what, number).mask for other, what in zip(others, learned)]
            best = pair.best([target_grid.mask_from_native(one) for one in found])
            transfers.append(Transfer(target_grid.to_native(best.log_odds[None])[0] > 0, best.score))
            progress.slice_done(number, transfers[-1].mask, transfers[-1].confidence)
        return transfers

    def _likeness(
        self, windows: list[Window], session: ImageSession, number: int, mask: np.ndarray, shape: tuple[int, int]
    ) -> Likeness:
        """Of target ``number``, whose working grid is ``shape``, to the annotated image, whose working mask is ``mask``."""
        native = session.targets[number].shape[:2]
        frame = Frame.full(native, (1.0, 1.0), session.predictor.frame_size)
        features = image_features(session.embedder(number), frame, native)
        expected = np.argwhere(mask).mean(axis=0) * np.divide(shape, mask.shape)
        return Likeness(windows, features, shape, tuple(expected), self.settings.carry.likeness)

    def _check_equipment(self, session: VolumeSession | ImageSession) -> None:
        if session.warp_network is None:
            raise ModelError("Med-PerSAM needs the warp's weights and was given none; install MedPerSAM again.")
        if (self.settings.sam or self.settings.head) and session.predictor is None:
            raise ModelError("Med-PerSAM needs a SAM and was given none; choose a model, or the method 'warp'.")
