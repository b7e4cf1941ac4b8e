"""A profile: what a department learned from its finished cases, as one safetensors file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from MedPerSAMLib.core.learn.fitted import CurvePoint, Fitted
from MedPerSAMLib.core.learn.learners import LEARNERS
from MedPerSAMLib.errors import InputError, ModelError, OutputError
from MedPerSAMLib.services.images.structure import Structure

if TYPE_CHECKING:
    import torch

    from MedPerSAMLib.services.models.load import LoadedModel

FORMAT = "medpersam-profile"
VERSION = 1
SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Label:
    """One structure of a profile.

    Attributes:
        name: of the structure.
        colour: red, green, blue, each 0..1.
        value: its label value in files; None for its place in the order, from 1.
    """

    name: str
    colour: tuple[float, float, float]
    value: int | None = None


@dataclass(frozen=True)
class Profile:
    """A learned part with all that is needed to use it.

    Attributes:
        fitted: the learned part.
        labels: the structures, in the order of the classes 1..C.
        model: name of the frozen SAM; None for methods without one.
        model_checksum: SHA-256 of its file, None without one.
        seed: of the fit.
        trained_on: names of the training cases.
        validated_on: names of the validation cases; empty where slices of the training cases were held out.
        axis: array axis (0 axial, 1 coronal, 2 sagittal of an upright volume) along which slices were taken.
        directions: patient directions that rows and columns of the training slices run towards, such as "PL"; empty where
            they are not known.
    """

    fitted: Fitted
    labels: tuple[Label, ...]
    model: str | None
    model_checksum: str | None
    seed: int = 0
    trained_on: tuple[str, ...] = ()
    validated_on: tuple[str, ...] = ()
    axis: int = 0
    directions: str = ""

    def check_model(self, loaded: LoadedModel | None) -> None:
        """Raise ModelError unless ``loaded`` is the very model that the profile was fitted on."""
        if self.model is None:
            return
        if loaded is None or loaded.checksum != self.model_checksum:
            other = "no model" if loaded is None else f"{loaded.name!r} ({loaded.checksum[:12]})"
            raise ModelError(
                f"The profile was fitted on the model {self.model!r} ({self.model_checksum[:12]}) and does not work with "
                f"{other}; choose that model, or fit again."
            )

    def structures(self) -> dict[int, Structure]:
        """Class 1..C -> what is written for it: name, label value and colour."""
        return {
            number: Structure(label.name, number if label.value is None else label.value, label.colour)
            for number, label in enumerate(self.labels, start=1)
        }

    def with_fitted(self, fitted: Fitted) -> Profile:
        """The same profile around another state of its fit."""
        return replace(self, fitted=fitted)

    def save(self, path: str | Path) -> None:
        """Write the profile to ``path``: to a partial file first, so that an older profile is never half overwritten.

        Raises:
            OutputError: it cannot be written there.
        """
        from safetensors.torch import save

        path = Path(path)
        check_suffix(path)
        tensors = {f"weights.{key}": value for key, value in self.fitted.weights.items()}
        tensors |= {f"training.{key}": value for key, value in self.fitted.training_state.items()}
        tensors = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
        description = json.dumps(self._description())
        metadata = {"format": FORMAT, "profile": description, "sha256": _checksum(description, tensors)}
        partial = path.with_name(f".{path.name}.partial")
        try:
            # safetensors' own writing lets only its owner read the file; profiles are for whole departments.
            partial.write_bytes(save(tensors, metadata=metadata))
            os.replace(partial, path)
        except OSError as error:
            raise OutputError(f"The profile cannot be written to {path} ({error}); choose another folder.") from error
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | Path) -> Profile:
        """Read a profile.

        Raises:
            InputError: there is no such file, or it is no profile, or damaged, or of a newer version.
        """
        from safetensors import SafetensorError, safe_open

        path = Path(path)
        if not path.is_file():
            raise InputError(f"There is no profile {path}; fit and save one, or correct the path.")
        try:
            with safe_open(str(path), framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no dict
        except (SafetensorError, OSError, ValueError) as error:
            raise InputError(f"{path} is damaged or no profile ({error}); fit again, or get the file again.") from error
        if metadata.get("format") != FORMAT:
            raise InputError(f"{path} is no MedPerSAM profile; give one that MedPerSAM saved after a fit.")
        if metadata.get("sha256") != _checksum(metadata.get("profile", ""), tensors):
            raise InputError(f"{path} is a damaged profile (its checksum is wrong); fit again, or get the file again.")
        try:
            return cls._from_description(json.loads(metadata["profile"]), tensors)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} is a damaged profile ({type(error).__name__}: {error}); fit again.") from error

    def _description(self) -> dict[str, object]:
        fitted = self.fitted
        return {
            "version": VERSION,
            "method": fitted.method,
            "labels": [asdict(label) for label in self.labels],
            "model": self.model,
            "model_checksum": self.model_checksum,
            "seed": self.seed,
            "trained_on": self.trained_on,
            "validated_on": self.validated_on,
            "axis": self.axis,
            "directions": self.directions,
            "settings": dict(fitted.settings),
            "curve": [asdict(point) for point in fitted.curve],
            "steps": fitted.steps,
            "finished": fitted.finished,
        }

    @classmethod
    def _from_description(cls, values: dict, tensors: dict) -> Profile:
        if values["version"] > VERSION:
            raise ValueError(f"version {values['version']} is newer than {VERSION}, update MedPerSAM")
        if values["method"] not in LEARNERS:
            raise ValueError(f"unknown method {values['method']!r}")
        parts = {
            kind: {key.removeprefix(kind): value for key, value in tensors.items() if key.startswith(kind)}
            for kind in ("weights.", "training.")
        }
        fitted = Fitted(
            values["method"],
            len(values["labels"]),
            values["settings"],
            parts["weights."],
            tuple(CurvePoint(**point) for point in values["curve"]),
            values["steps"],
            values["finished"],
            parts["training."],
        )
        labels = tuple(Label(label["name"], tuple(label["colour"]), label["value"]) for label in values["labels"])
        names: Sequence[str] = values["trained_on"]
        return cls(
            fitted, labels, values["model"], values["model_checksum"], values["seed"], tuple(names),
            tuple(values["validated_on"]), values["axis"], values.get("directions", ""),
        )  # fmt: skip


def check_suffix(path: str | Path) -> None:
    """Raise OutputError unless ``path`` ends as profiles do."""
    if Path(path).suffix != SUFFIX:
        raise OutputError(f"{path} does not end in {SUFFIX}; name the profile like organs{SUFFIX}.")


def _checksum(description: str, tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of everything in a profile, in hexadecimal."""
    total = hashlib.sha256(description.encode())
    for key in sorted(tensors):
        total.update(f"{key} {tensors[key].dtype} {tuple(tensors[key].shape)}".encode())
        total.update(tensors[key].numpy().tobytes())
    return total.hexdigest()
