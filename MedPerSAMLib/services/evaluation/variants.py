"""Which methods a run compares: a method as it ships, or one with other settings under a name of its own."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from MedPerSAMLib.errors import DependencyError, InputError, MedPerSAMError
from MedPerSAMLib.services.evaluation.settings_change import changed


@dataclass(frozen=True)
class Variant:
    """A method to measure.

    Attributes:
        name: how tables and JSON call it.
        method: the method's name in ``core.methods``.
        settings: the method's frozen settings dataclass; None for the method's defaults.
    """

    name: str
    method: str
    settings: object | None = None

    def create(self) -> object:
        """A fresh instance of the method."""
        from MedPerSAMLib.core.methods import method_class

        return (
            method_class(self.method)() if self.settings is None else method_class(self.method)(settings=self.settings)
        )

    @property
    def needs_model(self) -> bool:
        """Whether it works on embeddings."""
        from MedPerSAMLib.core.methods import method_class

        # A method that can do without its SAM has a setting for that, and needs no model then.
        return bool(method_class(self.method).needs_model) and getattr(self.settings, "sam", True)

    def describe_settings(self) -> dict[str, object]:
        """The settings in use, as JSON values; empty for a method without any."""
        settings = getattr(self.create(), "settings", None)
        return dataclasses.asdict(settings) if dataclasses.is_dataclass(settings) else {}


@dataclass(frozen=True)
class Choice:
    """What a run compares.

    Attributes:
        variants: methods; empty where kinds are compared.
        kinds: prompt kinds, or whatever else a protocol compares under the name of methods.
        left_out: name of a method that a default run leaves out -> the reason.
    """

    variants: tuple[Variant, ...] = ()
    kinds: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def needs_model(self) -> bool:
        """Whether any of them works on embeddings."""
        return bool(self.kinds) or any(variant.needs_model for variant in self.variants)


def choose_variants(names: Sequence[str] | None, ablation: Sequence[str] | None, capability: str) -> Choice:
    """The methods called ``names``, and med-persam's ablation where asked for; all methods where neither is.

    Args:
        names: of methods, as :func:`named_variants` takes them.
        ablation: names of the ablation's rows, none for all of them; None for no ablation.
        capability: what methods must be able to do.

    Raises:
        InputError: a method or a row does not exist or cannot do ``capability``, or none can.
    """
    if not names and ablation is None:
        variants, left_out = available_variants(capability)
        if not variants:
            raise InputError(f"No method can {capability} here: {left_out}; install what they need.")
        return Choice(tuple(variants), left_out=left_out)
    variants = named_variants(names or [], capability)
    if ablation is not None:
        from MedPerSAMLib.services.evaluation.ablation import ablation_variants

        variants += ablation_variants(ablation)
    return Choice(tuple(variants))


def named_variants(names: Sequence[str], capability: str) -> list[Variant]:
    """The methods called ``names``.

    Args:
        names: of ``core.methods.METHODS``; ``method:field=value;part.field=value`` is the method with other settings.
        capability: what they must be able to do: "propagate" or "transfer".

    Raises:
        InputError: no method has that name, it cannot do that, or it has no such setting.
    """
    from MedPerSAMLib.core.methods import method_class

    variants = []
    for name in names:
        method, _, changes = name.partition(":")
        if not hasattr(method_class(method), capability):
            able = ", ".join(variant.name for variant in available_variants(capability)[0])
            raise InputError(f"The method {method!r} cannot {capability}; use one of {able}.")
        variants.append(Variant(name, method, _changed_settings(method, changes) if changes else None))
    return variants


def parsed_changes(method: str, changes: str) -> dict[str, object]:
    """``field=value;part.field=value`` as values by field.

    Raises:
        InputError: a value of the method's is no number, True, False, None or a tuple of numbers.
    """
    values = {}
    for change in changes.split(";"):
        key, _, value = change.partition("=")
        try:
            values[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError) as error:
            raise InputError(
                f"{value!r} is no value for {method}'s {key}; write a number, True, False, None, or numbers in brackets."
            ) from error
    return values


def _changed_settings(method: str, changes: str) -> object:
    return changed(getattr(Variant(method, method).create(), "settings", None), parsed_changes(method, changes))


def available_variants(capability: str) -> tuple[list[Variant], dict[str, str]]:
    """Every method that can do ``capability`` here, and why each of the others is left out."""
    from MedPerSAMLib.core.methods import METHODS, method_class

    variants, left_out = [], {}
    for name in METHODS:
        try:
            found = method_class(name)
        except ImportError as error:
            left_out[name] = str(error)
            continue
        if not hasattr(found, capability):
            left_out[name] = f"cannot {capability}"
            continue
        missing = _missing_package(found) if capability == "propagate" and not found.needs_model else None
        if missing is None:
            variants.append(Variant(name, name))
        else:
            left_out[name] = missing
    return variants, left_out


def _missing_package(method: type) -> str | None:
    """What a method lacks, found out on a few voxels rather than in the middle of a long run; None if nothing."""
    from MedPerSAMLib.core.progress import Progress
    from MedPerSAMLib.core.session import VolumeSession
    from MedPerSAMLib.core.task import Reference, Volume

    inside = np.zeros((3, 8, 8), bool)
    inside[:, 2:6, 2:6] = True
    try:
        method().propagate(
            VolumeSession(Volume(inside.astype(np.float32))), Reference({1: inside[1]}), Progress(), None
        )
    except DependencyError as error:
        return str(error)
    except MedPerSAMError:
        # It runs, and finds this too little to work on.
        return None
    return None
