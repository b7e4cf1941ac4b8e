"""The report of a run: what was found on which slice, how sure, how long it took, and with what."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import MedPerSAMLib
from MedPerSAMLib.core.task import Propagation, Reference
from MedPerSAMLib.errors import OutputError
from MedPerSAMLib.services.equipment import Equipment
from MedPerSAMLib.services.images.structure import Structure


def equipment_fields(equipment: Equipment, seed: int) -> dict[str, Any]:
    """Version, method, settings, model and device."""
    return {
        "version": MedPerSAMLib.__version__,
        "method": equipment.method_name,
        "settings": equipment.settings(),
        "model": equipment.model,
        "model_sha256": equipment.checksum,
        "device": equipment.device,
        "seed": seed,
        "python": platform.python_version(),
    }


def structure_fields(
    structure: Structure,
    reference: Reference | None,
    propagation: Propagation,
    millilitres_per_voxel: float,
    seconds: float,
) -> dict[str, Any]:
    """One structure: per slice whether it is there, how sure that is, and its pixels; None where nothing is annotated."""
    annotated = set() if reference is None else set(reference.masks)
    slices = [
        {
            "slice": k,
            "annotated": k in annotated,
            "finished": bool(propagation.finished[k]),
            "present": bool(propagation.present[k]),
            "confidence": _rounded(propagation.confidence[k]),
            "pixels": int(np.count_nonzero(propagation.mask[k])),
            **{name: _rounded(figures[k]) for name, figures in propagation.details.items()},
        }
        for k in range(len(propagation.mask))
    ]
    return {
        "name": structure.name,
        "label": structure.value,
        "annotated_slices": sorted(int(k) for k in annotated),
        "millilitres": _rounded(np.count_nonzero(propagation.mask) * millilitres_per_voxel),
        "least_certain_slice": least_certain_slice(annotated, propagation),
        "seconds": _rounded(seconds),
        "notes": list(propagation.notes),
        "slices": slices,
    }


def least_certain_slice(annotated: Collection[int], propagation: Propagation) -> int | None:
    """The finished slice with the structure on it whose confidence is lowest; None where all are annotated, or none has it."""
    candidates = [
        k
        for k in np.flatnonzero(propagation.present & propagation.finished)
        if k not in annotated and np.isfinite(propagation.confidence[k])
    ]
    return int(min(candidates, key=lambda k: propagation.confidence[k])) if candidates else None


def write_report(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` as JSON, whole or not at all.

    Raises:
        OutputError: it cannot be written there.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(json.dumps(content, indent=1, default=_plain) + "\n", encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise OutputError(f"The report {path} cannot be written: {error.strerror}; choose another place.") from error
    finally:
        temporary.unlink(missing_ok=True)


def _rounded(figure: float) -> float | None:
    """Four digits after the point; None for what JSON has no number for."""
    return round(float(figure), 4) if math.isfinite(figure) else None


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (np.ndarray, range, set, frozenset)):
        return list(value)
    return str(value)
