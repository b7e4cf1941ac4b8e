"""The learned methods by name. A new one is one file beside this and one line in ``LEARNERS``."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from MedPerSAMLib.errors import InputError


@dataclass(frozen=True)
class Learner:
    """One learned method.

    Attributes:
        name: how people and files call it.
        summary: one line for people.
        prompts: whether it makes point prompts, which can be shown and moved.
        sees: what it looks at: "features" (of the encoder, and the frame), "embedding", "levels" (beside the embedding) or "frames".
        baseline: whether it is only there to compare with.
    """

    name: str
    summary: str
    prompts: bool = False
    sees: str = "features"
    baseline: bool = False

    @property
    def needs_model(self) -> bool:
        """Whether it stands on the frozen SAM (the U-Net does not)."""
        return self.sees != "frames"


_ALL = (
    Learner(
        "autosam-cnn",
        "AutoSAM, convolutional head, here a small U-Net on the image that the frozen encoder's features join",
    ),
    Learner("autosam-cnn-plain", "AutoSAM, the paper's own convolutional head, on the embedding alone", sees="embedding"),
    Learner(
        "autosam-vit",
        "AutoSAM, prompt-free copy of SAM's mask decoder per structure, started from its weights",
        sees="embedding",
    ),
    Learner("autosam-linear", "AutoSAM, the smallest head: two upsamplings and a linear map"),
    Learner(
        "promise",
        "ProMISe, learned prompts (both forms) and pattern shifting through the frozen decoder",
        True,
        "levels",
    ),
    Learner(
        "promise-apm", "ProMISe, learned prompts only (auto-prompting module, convolutional trunk)", True, "levels"
    ),
    Learner(
        "promise-queries", "ProMISe, learned prompts only (auto-prompting module, learned queries)", True, "levels"
    ),
    Learner(
        "promise-ips",
        "ProMISe, incremental pattern shifting only: no prompts, the decoder's tokens are shifted",
        sees="embedding",
    ),
    Learner("unet", "a U-Net trained from scratch on the same volumes, without SAM", sees="frames", baseline=True),
)

LEARNERS = {learner.name: learner for learner in _ALL}
"""Name -> learned method, the first one being the default."""

DEFAULT_LEARNER = _ALL[0].name


def learner(name: str) -> Learner:
    """The learned method called ``name``.

    Raises:
        InputError: there is none of that name; the nearest are given.
    """
    if name not in LEARNERS:
        near = difflib.get_close_matches(name, LEARNERS, n=2, cutoff=0.3) or sorted(LEARNERS)
        raise InputError(f"There is no learned method {name!r}; did you mean {' or '.join(near)}?")
    return LEARNERS[name]
