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
        summary: for people, short enough to be read with the name in a panel of usual width.
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
    # Ours: the frozen encoder's features join a small U-Net on the image.
    Learner("autosam-cnn", "AutoSAM, small U-Net with SAM's features"),
    # The paper's own convolutional head, on the embedding alone.
    Learner("autosam-cnn-plain", "AutoSAM, the paper's own head", sees="embedding"),
    # Prompt-free, one per structure, started from the decoder's weights.
    Learner("autosam-vit", "AutoSAM, a copy of SAM's mask decoder", sees="embedding"),
    # Two upsamplings and a linear map.
    Learner("autosam-linear", "AutoSAM, the smallest head"),
    # Both forms of prompts, through the frozen decoder.
    Learner("promise", "ProMISe, learned prompts and pattern shifting", True, "levels"),
    # The auto-prompting module with a convolutional trunk.
    Learner("promise-apm", "ProMISe, prompts only (convolutional)", True, "levels"),
    # The auto-prompting module with learned queries.
    Learner("promise-queries", "ProMISe, prompts only (queries)", True, "levels"),
    # Incremental pattern shifting: no prompts, the decoder's tokens are shifted.
    Learner("promise-ips", "ProMISe, pattern shifting only", sees="embedding"),
    Learner("unet", "a U-Net from scratch, without SAM", sees="frames", baseline=True),
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
