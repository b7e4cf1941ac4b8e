"""The part of a fit and of its application that runs in the background: arrays in, arrays out, no MRML, no files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from MedPerSAMLib.core.learn.learners import DEFAULT_LEARNER, learner
from MedPerSAMLib.errors import Cancelled, InputError
from MedPerSAMLib.services.learning.apply_memory import ApplyMemory
from MedPerSAMLib.services.learning.profile import Label, Profile

if TYPE_CHECKING:
    from MedPerSAMLib.core.learn.apply import Applied, SlicePoints
    from MedPerSAMLib.core.learn.fitted import Fitted
    from MedPerSAMLib.core.learn.labelled import LabelledVolume
    from MedPerSAMLib.core.task import Volume
    from MedPerSAMLib.services.models.load import LoadedModel


@dataclass(frozen=True)
class FitOrder:
    """What is to be learned.

    Attributes:
        training: finished cases, at least one; their label values follow ``labels``.
        labels: the structures, in the order of the label values 1..C.
        validation: finished cases by which the training is stopped; slices of the training cases are held out if empty.
        method: name in ``core.learn.learners.LEARNERS``.
        model: name or path of the frozen SAM; None for the embedded one.
        device: auto, cpu, cuda or mps.
        seed: of everything random.
        axis: array axis along which the slices of the volume nodes or files were taken.
        resume: an unfinished profile to go on from.
        directions: patient directions of rows and columns, such as "PL"; empty where they are not known.
    """

    training: tuple[LabelledVolume, ...]
    labels: tuple[Label, ...]
    validation: tuple[LabelledVolume, ...] = ()
    method: str = DEFAULT_LEARNER
    model: str | None = None
    device: str = "auto"
    seed: int = 0
    axis: int = 0
    resume: Profile | None = None
    directions: str = ""


@dataclass(frozen=True)
class ApplyOrder:
    """What is to be segmented.

    Attributes:
        profile: what was learned.
        volume: the grey volume, slices first, along the profile's axis.
        device: auto, cpu, cuda or mps.
        model: path of the profile's model where its name is not known here; None to take the profile's.
        moved: (class, slice) -> points that the user moved.
    """

    profile: Profile
    volume: Volume
    device: str = "auto"
    model: str | None = None
    moved: Mapping[tuple[int, int], SlicePoints] = field(default_factory=dict)


def fit_profile(order: FitOrder, listener, keep: Callable[[Profile], None] = lambda profile: None) -> Profile:
    """Learn from finished cases; runs on any thread.

    Args:
        order: what to learn.
        listener: a Progress; its ``curve_point(point)``, where it has one, gets each check of the training.
        keep: called after each check with the best profile so far, from which the fit can go on.

    Returns:
        the profile; where the listener cancelled after a first check, the best so far with ``fitted.finished`` False.

    Raises:
        Cancelled: the listener asked for it before there was anything to keep.
        MedPerSAMError: a case, the model, or the profile to resume does not fit.
    """
    _check_order(order)
    loaded = load_model(order.method, order.model, order.device, listener, trains=True)
    from MedPerSAMLib.core.learn.fit import fit  # torch is there by now: its import must not stop a waiting panel

    empty = Profile(
        None,
        order.labels,
        None if loaded is None else loaded.name,
        None if loaded is None else loaded.checksum,
        order.seed,
        tuple(case.name for case in order.training),
        tuple(case.name for case in order.validation),
        order.axis,
        order.directions,
    )
    if order.resume is not None:
        _check_resume(order, order.resume, loaded)
    best: list[Profile] = []

    def kept(fitted: Fitted) -> None:
        best[:] = [empty.with_fitted(fitted)]
        told = getattr(listener, "curve_point", None)
        if told is not None and fitted.curve:
            told(fitted.curve[-1])
        keep(best[0])

    try:
        fitted = fit(
            order.method,
            None if loaded is None else loaded.predictor,
            order.training,
            order.validation,
            len(order.labels),
            order.seed,
            listener,
            None if order.resume is None else order.resume.fitted,
            kept,
        )
    except Cancelled:
        if not best:
            raise
        return best[0]
    return empty.with_fitted(fitted)


def apply_profile(
    order: ApplyOrder,
    listener,
    on_slice: Callable = lambda number, index, mask, confidence: None,
    memory: ApplyMemory | None = None,
) -> Applied:
    """Segment a volume with a profile; runs on any thread.

    Args:
        order: what to do.
        listener: a Progress.
        on_slice: called with (class, slice, (rows, columns) bool mask, confidence) as slices finish.
        memory: of earlier applications, if there is one; with moved points what it knows is not computed again.

    Raises:
        Cancelled: the listener asked for it.
        MedPerSAMError: the volume or the model does not fit.
    """
    profile = order.profile
    loaded = load_model(profile.fitted.method, order.model or profile.model, order.device, listener, trains=False)
    from MedPerSAMLib.core.learn.apply import apply  # as in fit_profile

    profile.check_model(loaded)
    predictor = None if loaded is None else loaded.predictor
    looked = None if memory is None else memory.known(order)
    applied = apply(profile.fitted, predictor, order.volume, listener, on_slice, order.moved, looked)
    if memory is not None and looked is None:
        memory.keep(order, applied.looked)
    return applied


def load_model(method: str, model: str | None, device: str, listener, trains: bool) -> LoadedModel | None:
    """The frozen SAM that a learned method stands on, and what it runs with or ``trains``; None for one without."""
    if not learner(method).needs_model:
        return None
    from MedPerSAMLib.services.models.load import choose_device, load_predictor
    from MedPerSAMLib.services.models.registry import DEFAULT
    from MedPerSAMLib.services.preload import quiet_imports

    listener.step("loading model", 0, 1)
    with quiet_imports(trains):
        chosen, why = choose_device(device)
        loaded = load_predictor(model or DEFAULT, chosen)
    listener.note(why)
    return loaded


def _check_order(order: FitOrder) -> None:
    if not order.training:
        raise InputError("There is no training case; give at least one volume with its labels.")
    if not order.labels:
        raise InputError("No structure is named; give at least one label to learn.")
    for case in (*order.training, *order.validation):
        most = int(case.labels.max())
        if most > len(order.labels):
            raise InputError(
                f"{case.name} has a label {most} that the {len(order.labels)} labels of this fit do not know; name it, or "
                "remove it."
            )


def _check_resume(order: FitOrder, profile: Profile, loaded: LoadedModel | None) -> None:
    profile.check_model(loaded)
    if profile.fitted.finished:
        raise InputError("The profile to resume is finished; apply it, or fit a new one.")
    names = [[label.name for label in labels] for labels in (profile.labels, order.labels)]
    same = (
        profile.fitted.method == order.method
        and names[0] == names[1]
        and profile.seed == order.seed
        and profile.trained_on == tuple(case.name for case in order.training)
        and profile.validated_on == tuple(case.name for case in order.validation)
        and profile.axis == order.axis
    )
    if not same:
        checked = f", checked on {', '.join(profile.validated_on)}," if profile.validated_on else ""
        raise InputError(
            f"The profile to resume was a fit of {profile.fitted.method} on {', '.join(profile.trained_on)}{checked} with "
            f"seed {profile.seed} along axis {profile.axis} for {', '.join(names[0])}; ask for the same, or fit a new one."
        )
