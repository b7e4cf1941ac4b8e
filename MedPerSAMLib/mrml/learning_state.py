"""What the section "Learn from finished cases" shows, as plain values, and how a profile is told in a line."""

from __future__ import annotations

from dataclasses import dataclass

from MedPerSAMLib.services.learning.profile import Profile


@dataclass
class LearningState:
    """One picture of the section.

    Attributes:
        cases: the finished cases, a line each.
        fit_button: text of the Fit button.
        fit_reason: why Fit cannot be pressed; empty where it can.
        apply_button: text of the Apply button.
        apply_reason: why Apply cannot be pressed; empty where it can.
        again_reason: why Apply again cannot be pressed; empty where it can.
        busy_reason: why the list and the profile cannot be changed now; empty where they can.
        progress: percent, or None while it cannot be told.
        status: one sentence.
        profile: one line on the profile.
        has_profile: whether there is one to save.
        has_curve: whether there is a training curve to show.
    """

    cases: tuple[str, ...] = ()
    fit_button: str = "Fit"
    fit_reason: str = ""
    apply_button: str = "Apply"
    apply_reason: str = ""
    again_reason: str = ""
    busy_reason: str = ""
    progress: float | None = 0.0
    status: str = ""
    profile: str = ""
    has_profile: bool = False
    has_curve: bool = False


NO_PROFILE = "No profile yet: fit one on finished cases, or load one."


def profile_line(profile: Profile | None, saved_as: str = "") -> str:
    """Method, structures, cases, how well it did, and whether its training came to an end."""
    if profile is None:
        return NO_PROFILE
    fitted = profile.fitted
    cases = len(profile.trained_on)
    parts = [
        f"{fitted.method} for {', '.join(label.name for label in profile.labels)}",
        f"trained on {cases} case{'s' * (cases != 1)} ({', '.join(profile.trained_on)})",
    ]
    if profile.model is not None:
        parts.append(f"with the model {profile.model}")
    if fitted.curve:
        parts.append(f"validation Dice {best_dice(profile):.2f}")
    end = "finished" if fitted.finished else "stopped before its end"
    parts.append(f"{end} after {fitted.steps} steps")
    parts.append(f"saved as {saved_as}" if saved_as else "not saved")
    return "; ".join(parts) + "."


def best_dice(profile: Profile) -> float:
    """Validation Dice of the weights that are kept."""
    return max(point.dice for point in profile.fitted.curve)
