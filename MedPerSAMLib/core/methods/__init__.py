"""The methods by name. A new one is one file beside this and one line in ``METHODS``.

Every method is a class with a class attribute ``summary`` (one line for people), ``needs_model`` (bool), an ``__init__``
without required arguments (a frozen settings dataclass may be given as ``settings``), and one or both of

- ``propagate(session: VolumeSession, reference: Reference, progress: Progress, slices: range | None) -> Propagation``
- ``transfer(session: ImageSession, progress: Progress) -> list[Transfer]``
"""

from __future__ import annotations

import difflib
import importlib

from MedPerSAMLib.errors import InputError

METHODS = {
    "med-persam": "MedPerSAMLib.core.methods.med_persam:MedPerSAM",
    "warp": "MedPerSAMLib.core.methods.warp:WarpOnly",
    "persam": "MedPerSAMLib.core.methods.persam:PerSAM",
    "persam-f": "MedPerSAMLib.core.methods.persam_f:PerSAMF",
    "matcher": "MedPerSAMLib.core.methods.matcher:Matcher",
    "head-one": "MedPerSAMLib.core.methods.head_one:HeadOne",
    "ips-one": "MedPerSAMLib.core.methods.ips_one:IpsOne",
    "copy": "MedPerSAMLib.core.methods.copy_reference:CopyReference",
    "grow-from-seeds": "MedPerSAMLib.mrml.grow_from_seeds:GrowFromSeeds",
}


def method_class(name: str) -> type:
    """The class of the method called ``name``.

    Raises:
        InputError: no method has that name; the nearest names are given.
    """
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, n=2, cutoff=0.3) or sorted(METHODS)
        raise InputError(f"There is no method {name!r}; did you mean {' or '.join(near)}?")
    module, attribute = METHODS[name].split(":")
    return getattr(importlib.import_module(module), attribute)
