"""Fit a learned part on the frozen SAM: slices of finished cases are encoded once, then only the small part is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

import torch

from MedPerSAMLib.core.frame import Frame
from MedPerSAMLib.core.learn.examples import Case, changed_example, draw_places, plain_example, split
from MedPerSAMLib.core.learn.fitted import Fitted
from MedPerSAMLib.core.learn.inputs import Inputs, look, sizes
from MedPerSAMLib.core.learn.labelled import LabelledVolume
from MedPerSAMLib.core.learn.learners import learner
from MedPerSAMLib.core.learn.parts import build, build_locator, describe
from MedPerSAMLib.core.learn.settings import FitSettings, settings_of
from MedPerSAMLib.core.learn.training import Examples, State, Training
from MedPerSAMLib.core.learn.view import View
from MedPerSAMLib.core.learn.whole_parts import one_piece
from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.core.sam.predictor import Predictor
from MedPerSAMLib.errors import InputError

_BATCH = 8

LOCATOR = "locator."
"""Prefix of the locator's weights among a learned part's."""


def fit(
    method: str,
    predictor: Predictor | None,
    training: Sequence[LabelledVolume],
    validation: Sequence[LabelledVolume],
    classes: int,
    seed: int,
    progress: Progress,
    resume: Fitted | None = None,
    keep: Callable[[Fitted], None] = lambda fitted: None,
    settings: FitSettings | None = None,
) -> Fitted:
    """Learn to segment from finished cases; the SAM stays frozen.

    Args:
        method: name in ``learners.LEARNERS``.
        predictor: the frozen SAM; None for methods without one.
        training: finished cases.
        validation: cases by which the best weights are chosen; slices of the training cases are held out where there are none.
        classes: structures, with label values 1..classes.
        seed: of everything random.
        progress: told of each batch and step.
        resume: what ``keep`` was last given by a fit of the same cases, method and seed.
        keep: called after every check with the best weights so far and what is needed to go on; a Cancelled that is raised later
            loses nothing that was kept.
        settings: how long and how; the method's own unless given.

    Raises:
        Cancelled: the user asked for it.
        InputError: a class is labelled in none of the training cases, the method does not exist, or ``resume`` is of a fit with
            other settings or of another version.
    """
    chosen = learner(method)
    settings = settings_of(method, len(training) == 1) if settings is None else settings
    if resume is not None and resume.settings.get("fit") != asdict(settings):
        raise InputError("The profile to resume was begun with other settings of the training; fit a new one.")
    for number in range(1, classes + 1):
        if not any((case.labels == number).any() for case in training):
            raise InputError(f"Class {number} is labelled in none of the training cases; leave it out, or label it.")
    frame_size, mask_size = sizes(predictor)
    view = View.of([case.labels > 0 for case in training], [case.volume.spacing[1:] for case in training])
    progress.step("reading the cases", 0, 1)
    cases = [Case.of(case, view, frame_size) for case in training]
    learn_places, check_places = split(cases, settings)
    check_cases = cases
    if validation:
        check_cases = [Case.of(case, view, frame_size) for case in validation]
        learn_places = [(number, index) for number, case in enumerate(cases) for index in range(len(case.slices))]
        check_places = [(number, index) for number, case in enumerate(check_cases) for index in range(len(case.slices))]

    encoder = _Encoder(chosen.sees, predictor, classes, mask_size, seed, progress)
    step = -(-len(check_places) // settings.most_validation)
    checked = [(check_cases[number], index) for number, index in check_places[::step]]
    described = {
        **describe(predictor),
        "view": view.values(),
        "one_piece": one_piece([case.labels for case in training], classes),
        "fit": asdict(settings),
    }
    device = torch.device("cpu") if predictor is None else predictor.device
    located: dict[str, torch.Tensor] = {}
    if resume is not None:
        located = {key: value for key, value in resume.weights.items() if key.startswith(LOCATOR)}
    elif view.closer_mm is not None:
        drawn = draw_places(cases, learn_places, settings.located, settings.empty_share, seed)
        place = _Encoder("frames", predictor, classes, mask_size, seed, progress)
        wholes = place.encode([(cases[n], i, cases[n].whole) for n, i in drawn], "whole")
        unchanged = place.encode([(case, i, case.whole) for case, i in checked], "whole", changed=False)
        short = replace(settings, steps=settings.located, batch=_BATCH, learning_rate=FitSettings.learning_rate)
        locator = build_locator(predictor, seed).train()
        best = (
            Training(locator, wholes, unchanged, classes, short, seed, device)
            .run(progress, phase="learning where to look")
            .best
        )
        located = {LOCATOR + key: value for key, value in best.items()}

    check = encoder.encode([(case, i, case.frame) for case, i in checked], "held-out", changed=False)
    count = max(settings.batch, min(settings.examples, int(settings.memory_bytes / check.inputs.bytes_each)))
    drawn = draw_places(cases, learn_places, count, settings.empty_share, seed)
    learn = encoder.encode([(cases[n], i, cases[n].frame) for n, i in drawn], "training")
    part = build(method, predictor, classes, described, seed)
    trainer = Training(part.train(), learn, check, classes, settings, seed, device)
    if resume is not None:
        weights = {key: value for key, value in resume.weights.items() if not key.startswith(LOCATOR)}
        trainer.restore(resume.training_state, State(resume.steps, resume.curve, weights))

    def fitted(of: Training) -> Fitted:
        state = of.state
        rest = {} if state.finished else of.snapshot()
        weights = {**state.best, **located}
        return Fitted(method, classes, described, weights, state.curve, state.steps, state.finished, rest)

    trainer.run(progress, lambda of: keep(fitted(of)))
    return fitted(trainer)


class _Encoder:
    """Draws frames and encodes them, a batch at a time.

    Args:
        sees: what is looked at, as in ``learners.Learner``.
        predictor: the frozen SAM, or None.
        classes: structures.
        mask_size: side of the labels.
        seed: of the changes.
        progress: told of each batch.
    """

    def __init__(
        self,
        sees: str,
        predictor: Predictor | None,
        classes: int,
        mask_size: int,
        seed: int,
        progress: Progress,
    ) -> None:
        self._sees, self._predictor, self._progress = sees, predictor, progress
        self._classes, self._mask_size, self._seed = classes, mask_size, seed

    def encode(self, items: Sequence[tuple[Case, int, Frame]], kind: str, changed: bool = True) -> Examples:
        """Encode (case, slice, window) items, as changed copies or as they are."""
        inputs, labels = [], []
        for start in range(0, len(items), _BATCH):
            self._progress.step(f"encoding {kind} slices", start, len(items))
            drawn = [self._draw(turn, *items[turn], changed) for turn in range(start, min(len(items), start + _BATCH))]
            frames = torch.stack([frame for frame, _ in drawn])
            inputs.append(look(self._sees, self._predictor, frames).half())
            labels += [label for _, label in drawn]
        return Examples(Inputs.joined(inputs), torch.stack(labels))

    def _draw(
        self, turn: int, case: Case, index: int, frame: Frame, changed: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not changed:
            return plain_example(case, index, frame, self._classes, self._mask_size)
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + turn)
        return changed_example(case, index, frame, self._classes, self._mask_size, generator)
