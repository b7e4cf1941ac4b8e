"""Why a button of "Learn from finished cases" cannot be pressed, each in one sentence; empty where it can."""

from __future__ import annotations

from MedPerSAMLib.core.learn.learners import LEARNERS
from MedPerSAMLib.mrml.applied_points import AppliedPoints
from MedPerSAMLib.mrml.choices import Parameters
from MedPerSAMLib.mrml.model_presenter import ModelPresenter
from MedPerSAMLib.services.learning.profile import Profile

CANCELLING_REASON = "It is being cancelled."


def fit_reason(parameters: Parameters | None, cases: int, models: ModelPresenter) -> str:
    """Why no fit can be started."""
    if parameters is None or not cases:
        return "Add at least one finished case first: choose its volume and segmentation above, press Add this case."
    if parameters.learner not in LEARNERS:
        return f"There is no learned method {parameters.learner!r}; choose one from the list."
    return models.reason(parameters.model) if LEARNERS[parameters.learner].needs_model else ""


def apply_reason(parameters: Parameters | None, profile: Profile | None, models: ModelPresenter) -> str:
    """Why the profile cannot be applied."""
    if profile is None:
        return "Fit or load a profile first."
    if parameters is None or parameters.volume is None:
        return "Choose the volume at the top of the panel."
    return "" if profile.model is None else models.reason(profile.model)


def again_reason(parameters: Parameters | None, points: AppliedPoints) -> str:
    """Why SAM cannot be asked again."""
    if not points.there:
        return "There are no points; only methods with prompts (promise) show them after Apply."
    here = parameters is not None and points.lie_on(parameters.volume)
    return "" if here else "The points are those of another volume; choose that one, or press Apply."
