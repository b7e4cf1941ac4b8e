"""What protocol ``fewshot`` compares: learned methods, and beside them methods that are told something of each test case."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from MedPerSAMLib.core.learn.learners import LEARNERS
from MedPerSAMLib.core.methods import METHODS
from MedPerSAMLib.errors import InputError
from MedPerSAMLib.services.evaluation.settings_change import changed
from MedPerSAMLib.services.evaluation.variants import Choice, Variant, named_variants, parsed_changes

if TYPE_CHECKING:
    from MedPerSAMLib.core.learn.settings import FitSettings

CENTRE_POINT = "centre-point"
ONE_SLICE = "med-persam"
"""The one-slice method that a default run puts beside the learned ones."""


@dataclass(frozen=True)
class LearnedVariant:
    """A learned method to measure.

    Attributes:
        name: how tables and JSON call it, its training size left out.
        method: name in ``core.learn.learners.LEARNERS``.
        settings: how it is fitted; None for the method's own.
    """

    name: str
    method: str
    settings: FitSettings | None = None

    @property
    def needs_model(self) -> bool:
        """Whether it stands on the frozen SAM."""
        return LEARNERS[self.method].needs_model

    def fit_settings(self, single: bool = False) -> FitSettings:
        """How it is fitted; ``single`` says that there is one training volume only."""
        from MedPerSAMLib.core.learn.settings import settings_of

        return settings_of(self.method, single) if self.settings is None else self.settings

    def describe_settings(self) -> dict[str, object]:
        """The settings in use, as JSON values; those for a single training volume apart where they differ."""
        several, single = (dataclasses.asdict(self.fit_settings(single)) for single in (False, True))
        return several if single == several else {**several, "single_volume": single}


@dataclass(frozen=True)
class CentrePoint:
    """The frozen model, prompted with one true point on each slice."""

    name: str = CENTRE_POINT
    needs_model: bool = True

    def describe_settings(self) -> dict[str, object]:
        """There are none."""
        return {}


FewShotVariant = LearnedVariant | CentrePoint | Variant


def choose_few_shot(names: Sequence[str] | None) -> Choice:
    """The methods called ``names``; all learned ones, med-persam and the centre point for None.

    Args:
        names: learned methods, ``centre-point``, or methods that carry one slice; with other settings:
            ``method:field=value;part.field=value``.

    Raises:
        InputError: no method has that name, or no such setting.
    """
    names = [*LEARNERS, CENTRE_POINT, ONE_SLICE] if names is None else names
    return Choice(tuple(_variant(name) for name in names))


def _variant(name: str) -> FewShotVariant:
    method, _, changes = name.partition(":")
    if name == CENTRE_POINT:
        return CentrePoint()
    if method in LEARNERS:
        variant = LearnedVariant(name, method)
        if not changes:
            return variant
        return dataclasses.replace(variant, settings=changed(variant.fit_settings(), parsed_changes(method, changes)))
    known = [*LEARNERS, CENTRE_POINT, *METHODS]
    if method not in known:
        near = difflib.get_close_matches(method, known, n=2, cutoff=0.3) or known
        raise InputError(f"There is no method {method!r}; did you mean {' or '.join(near)}?")
    return named_variants([name], "propagate")[0]
