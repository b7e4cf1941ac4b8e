"""What a method needs before it can start: itself, a model on a device, starting weights for the warp."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from MedPerSAMLib.core.methods import method_class
from MedPerSAMLib.errors import InputError

if TYPE_CHECKING:
    from MedPerSAMLib.core.sam.predictor import Predictor
    from MedPerSAMLib.core.warp.network import WarpNetwork

DEFAULT_METHOD = "med-persam"


@dataclass(frozen=True)
class Equipment:
    """A method and all that it runs on.

    Attributes:
        method_name: name in the registry.
        method: an instance with its default settings.
        predictor: the frozen SAM; None where the method needs none.
        warp_network: the warp with its starting weights; None where they are missing.
        model: the model's name, None without one.
        model_key: names the model's very weights, for stores of embeddings.
        checksum: SHA-256 of the model's file, None without one.
        device: where it runs, as torch names it.
        notes: sentences for the user: why this device, what is missing.
    """

    method_name: str
    method: Any
    predictor: Predictor | None = None
    warp_network: WarpNetwork | None = None
    model: str | None = None
    model_key: str = ""
    checksum: str | None = None
    device: str = "cpu"
    notes: tuple[str, ...] = field(default=())

    def settings(self) -> dict[str, Any]:
        """The method's settings as plain values."""
        settings = getattr(self.method, "settings", None)
        return dataclasses.asdict(settings) if dataclasses.is_dataclass(settings) else {}


def prepare(method_name: str, task: str, model: str | None = None, device: str = "auto") -> Equipment:
    """Load what the method called ``method_name`` needs.

    Args:
        method_name: one of ``core.methods.METHODS``.
        task: "propagate" for volumes or "transfer" for images.
        model: name or path; the embedded one where None.
        device: auto, cpu, cuda or mps.

    Raises:
        InputError: the method is unknown or does not do the task, or the device is not there, needed or not.
        ModelError: the model is unknown, needed or not; or it is needed and missing or damaged.
    """
    method = method_class(method_name)()
    if not hasattr(method, task):
        work = {"propagate": "volumes", "transfer": "2D images"}[task]
        raise InputError(f"The method {method_name!r} does not work on {work}; see 'medpersam methods'.")
    if not method.needs_model:
        _check_unneeded(model, device)
    weights, notes = _warp_network()
    if not method.needs_model:
        return Equipment(method_name, method, warp_network=weights, notes=notes)
    from MedPerSAMLib.services.models.load import choose_device, load_predictor
    from MedPerSAMLib.services.models.registry import DEFAULT

    chosen, why = choose_device(device)
    loaded = load_predictor(model or DEFAULT, chosen)
    return Equipment(
        method_name,
        method,
        loaded.predictor,
        weights,
        loaded.name,
        loaded.key,
        loaded.checksum,
        chosen,
        (why, *notes),
    )


def _check_unneeded(model: str | None, device: str) -> None:
    """A name that nothing has is a slip of whoever gave it, also where the method needs neither model nor device."""
    from MedPerSAMLib.services.models.load import choose_device
    from MedPerSAMLib.services.models.store import ModelStore

    store = ModelStore()
    if model is not None and model not in store.entries():  # a model that must still be downloaded does no harm
        store.find(model)
    if device != "auto":
        choose_device(device)


def _warp_network() -> tuple[WarpNetwork | None, tuple[str, ...]]:
    from MedPerSAMLib.core.warp.network import load_warp
    from MedPerSAMLib.weights import weights_path

    try:
        return load_warp(weights_path("warp")), ()
    except FileNotFoundError as error:
        return None, (f"The warp's weights are missing: {error}",)
