"""The part of a propagation that runs in the background: arrays in, arrays out, no MRML.

A :class:`SessionCache` keeps what a volume and a model share (normalised slices, embeddings, fields) alive between
runs, so that a correction does not compute them again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MedPerSAMLib.core.digest import digest
from MedPerSAMLib.core.progress import Relay
from MedPerSAMLib.core.task import Propagation, Reference, Volume
from MedPerSAMLib.services.combine import exclusive
from MedPerSAMLib.services.preload import quiet_imports


@dataclass(frozen=True)
class Order:
    """What is to be propagated.

    Attributes:
        array: (slices, rows, columns) voxels of any number type, as the volume node holds them.
        spacing: millimetres per step along (slices, rows, columns).
        references: structure's key -> its annotated slices.
        slices: structure's key -> the slices to work on.
        method: name in ``core.methods.METHODS``.
        model: name or path; None for the embedded one.
        device: auto, cpu, cuda or mps.
        seed: of everything random.
        overlap: whether structures may overlap; else a voxel that several claim goes to one of them.
    """

    array: np.ndarray
    spacing: tuple[float, float, float]
    references: Mapping[str, Reference]
    slices: Mapping[str, range]
    method: str
    model: str | None = None
    device: str = "auto"
    seed: int = 0
    overlap: bool = False


class SessionCache:
    """The last few volumes with their models and everything computed from them.

    Args:
        limit: how many to keep; each holds a volume in float32 and its embeddings.
        prepare: loads method, model and weights; ``services.equipment.prepare`` unless given.
    """

    def __init__(self, limit: int = 2, prepare: Callable | None = None) -> None:
        self._limit, self._prepare = limit, prepare
        self._sessions: OrderedDict[tuple, object] = OrderedDict()
        self._equipment: dict[tuple, object] = {}
        self._too_large: set[tuple[str | None, str]] = set()
        """(model, device) for which the GPU's memory was not enough."""

    def equipment(self, order: Order):
        """Method, model and weights of an order, loaded once."""
        device = "cpu" if self.too_large(order.model, order.device) else order.device
        key = (order.method, order.model, device, _version(order.model))
        if key not in self._equipment:
            prepare = self._prepare
            if prepare is None:
                from MedPerSAMLib.services.equipment import prepare
            self._equipment = {key: prepare(order.method, "propagate", order.model, device)}
        return self._equipment[key]

    def too_large(self, model: str | None, device: str) -> bool:
        """Whether the GPU's memory was not enough for a model, so that the CPU is used instead of ``device``; :meth:`clear`
        forgets it."""
        return (model, device) in self._too_large

    def session(self, order: Order):
        """The session of the order's volume and model; the same object as long as voxels, spacing and model are the
        same."""
        from MedPerSAMLib.core.session import VolumeSession

        equipment = self.equipment(order)
        array = np.ascontiguousarray(order.array)
        key = (digest(array), array.shape, array.dtype.str, order.spacing, equipment.model_key, equipment.device, order.seed)
        if key not in self._sessions:
            self._sessions[key] = VolumeSession(
                Volume(array.astype(np.float32), order.spacing),
                equipment.predictor,
                equipment.warp_network,
                order.seed,
                equipment.model_key,
            )
            while len(self._sessions) > self._limit:
                self._sessions.popitem(last=False)
        self._sessions.move_to_end(key)
        return self._sessions[key]

    def make_smaller(self) -> str | None:
        """After memory ran out: free what can be made again and lower the need; says how, or None if nothing is
        left."""
        self._sessions.clear()
        predictors = [e.predictor for e in self._equipment.values() if e.predictor is not None]
        devices = {str(predictor.device) for predictor in predictors}
        _empty_gpu_cache()
        if any(predictor.batch > 1 for predictor in predictors):
            for predictor in predictors:
                predictor.batch = 1
            return "Memory ran out, so slices are now encoded one at a time."
        if devices - {"cpu"}:
            self._too_large.update((model, device) for _, model, device, _ in self._equipment)
            self._equipment.clear()
            return "The GPU's memory ran out, so the CPU is used."
        return None

    def clear(self) -> None:
        """Give the memory back."""
        self._sessions.clear()
        self._equipment.clear()
        self._too_large.clear()


def _version(model: str | None) -> tuple[int, int] | None:
    """Changes when another file lies behind a model's name or path; None where none lies there, which loading tells."""
    from MedPerSAMLib.services.models.registry import DEFAULT
    from MedPerSAMLib.services.models.store import ModelStore

    store, name = ModelStore(), DEFAULT if model is None else model
    entry = store.entries().get(name)
    try:
        found = (Path(name).expanduser() if entry is None else store.path(entry)).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _empty_gpu_cache() -> None:
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


STRUCTURES = "structures"
"""The phase whose steps are whole structures; told before each of several structures begins."""


class StructureProgress(Relay):
    """Passes on one structure's events together with its key.

    Args:
        key: the structure's.
        name: put in front of the phase where there are several structures, with the structure's number.
        listener: told everything; its ``structure_slice(key, index, mask, confidence)`` gets the slices.
        number: of the structure, from 1.
        count: of all structures.
    """

    def __init__(self, key: str, name: str, listener, number: int = 1, count: int = 1) -> None:
        super().__init__(listener)
        self._key = key
        self._before = f"{name} ({number} of {count}): " if count > 1 else ""

    def on_step(self, phase: str, done: int, total: int) -> None:
        self._listener.on_step(self._before + phase, done, total)

    def slice_done(self, index: int, mask: np.ndarray, confidence: float) -> None:
        self._listener.structure_slice(self._key, index, np.array(mask, bool), float(confidence))


def propagate(
    order: Order, sessions: SessionCache, listener, before: int = 0, count: int | None = None
) -> dict[str, Propagation]:
    """Propagate every structure of an order; runs on any thread.

    Args:
        order: what to do.
        sessions: keeps embeddings between runs.
        listener: a Progress with ``structure_slice(key, index, mask, confidence)``.
        before: how many structures other orders of the same run have had already.
        count: structures of the whole run; those of the order unless given.

    Returns:
        structure's key -> its Propagation.

    Raises:
        Cancelled: the listener asked for it.
        MedPerSAMError: an input, a model or a device that does not work.
    """
    listener.step("loading model", 0, 1)
    with quiet_imports():
        equipment = sessions.equipment(order)
    for sentence in equipment.notes:
        listener.note(sentence)
    listener.step("reading volume", 0, 1)
    session = sessions.session(order)
    results, count = {}, len(order.references) if count is None else count
    for number, (key, reference) in enumerate(order.references.items(), start=before + 1):
        if count > 1:
            listener.step(STRUCTURES, number - 1, count)
        progress = StructureProgress(key, reference.name, listener, number, count)
        results[key] = equipment.method.propagate(session, reference, progress, order.slices[key])
        for sentence in results[key].notes:
            listener.note(sentence)
    return results if order.overlap else exclusive(results, order.references, listener)
