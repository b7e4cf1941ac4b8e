"""Checkpoint files into memory, trusting nothing in them.

A checkpoint may come from anywhere, so a file is refused before it is unpacked when it declares more than it holds, is
never allowed to name Python objects other than tensors, and must fit the model key by key.
"""

from __future__ import annotations

import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from MedPerSAMLib.errors import ModelError

if TYPE_CHECKING:
    import torch

LARGEST_BYTES = 8 * 2**30
"""Files beyond this are refused; the largest released SAM has 2.6 GB."""

NAMED_KEYS = 3
"""How many wrong keys a message names."""

# A damaged pickle can raise nearly anything that its opcodes touch.
_DAMAGE = (RuntimeError, EOFError, LookupError, TypeError, ValueError, AttributeError, AssertionError, struct.error)
# Under these keys training programs keep the state dict beside optimiser state and counters.
_WRAPPERS = ("model", "state_dict", "model_state_dict")


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    Attributes:
        path: the file.
        tensors: by key; mapped from the file, so that nothing is read before it is used.
        metadata: of a safetensors file; empty for the others.
    """

    path: Path
    tensors: Mapping[str, torch.Tensor]
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every tensor by key."""
        return {key: tuple(tensor.shape) for key, tensor in self.tensors.items()}


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Open a .pth, .pt or .safetensors file; what it is, is told by its content.

    Raises:
        ModelError: the file is missing, too large, truncated, not a checkpoint, unpacks to more than its size, or holds
            Python objects that could run code.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        raise ModelError(
            f"The model file '{path}' cannot be read ({error.strerror}); give the path of a checkpoint."
        ) from error
    if size > LARGEST_BYTES:
        raise ModelError(
            f"The file '{path}' has {size / 1e9:.1f} GB, more than any SAM (the limit is {LARGEST_BYTES / 1e9:.1f}); "
            "give a checkpoint of SAM's format."
        )
    if head[8:9] == b"{":
        return _read_safetensors(path)
    if head[:4] == b"PK\x03\x04":
        _refuse_bomb(path, size)
        return _read_torch(path, mapped=True)
    if head[:1] == b"\x80":  # the format that torch wrote before version 1.6: bare pickles
        return _read_torch(path, mapped=False)
    raise ModelError(f"The file '{path}' is not a checkpoint; give a .pth, .pt or .safetensors file of a SAM.")


def load_weights(sam: torch.nn.Module, checkpoint: Checkpoint, name: str) -> torch.nn.Module:
    """Put the checkpoint's tensors, as float32 on the CPU, into ``sam``, which may be on the meta device.

    Raises:
        ModelError: a key is missing or not expected, a shape is wrong, or a value is not finite.
    """
    check_keys(
        {key: tuple(value.shape) for key, value in sam.state_dict().items()}, checkpoint.shapes, checkpoint.path, name
    )
    weights = {key: _own_copy(tensor) for key, tensor in checkpoint.tensors.items()}
    spoilt = [key for key, tensor in weights.items() if not tensor.isfinite().all()]
    if spoilt:
        raise ModelError(f"The file '{checkpoint.path}' is damaged: {_some(spoilt)} not finite; get the file again.")
    sam.load_state_dict(weights, strict=True, assign=True)
    return sam


def check_keys(
    expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]], path: Path, name: str
) -> None:
    """Compare the keys and shapes of a model called ``name`` with those of a file.

    Raises:
        ModelError: they differ; the message names the first few keys.
    """
    missing = [key for key in expected if key not in found]
    extra = [key for key in found if key not in expected]
    wrong = [
        f"{key} is {found[key]} instead of {shape}"
        for key, shape in expected.items()
        if key in found and found[key] != shape
    ]
    faults = []
    if missing:
        faults.append(f"{_some(missing)} missing")
    if extra:
        faults.append(f"{_some(extra)} not expected")
    if wrong:
        faults.append(
            "; ".join(wrong[:NAMED_KEYS]) + (f" and {len(wrong) - NAMED_KEYS} more" * (len(wrong) > NAMED_KEYS))
        )
    if faults:
        raise ModelError(
            f"The file '{path}' does not fit the model {name}: {', '.join(faults)}; "
            f"give a checkpoint that was saved from {name} as it is in segment-anything."
        )


def _some(keys: Sequence[str]) -> str:
    rest = f" and {len(keys) - NAMED_KEYS} more" if len(keys) > NAMED_KEYS else ""
    return ", ".join(keys[:NAMED_KEYS]) + rest + (" is" if len(keys) == 1 else " are")


def _own_copy(tensor: torch.Tensor) -> torch.Tensor:
    """A copy that no longer needs the file, so that the file can be replaced or removed while the model is in use."""
    import torch

    return tensor.to(torch.float32, copy=True) if tensor.is_floating_point() else tensor.clone()


def _read_safetensors(path: Path) -> Checkpoint:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            keys = file.keys()  # the file object itself cannot be iterated over
            return Checkpoint(path, {key: file.get_tensor(key) for key in keys}, file.metadata() or {})
    except (SafetensorError, *_DAMAGE) as error:
        raise ModelError(f"The file '{path}' is damaged or incomplete ({error}); get it again.") from error


def _refuse_bomb(path: Path, size: int) -> None:
    """Refuse an archive that would unpack to more than it is; torch stores tensors uncompressed, so it never does."""
    try:
        with zipfile.ZipFile(path) as archive:
            declared = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, NotImplementedError, *_DAMAGE) as error:
        raise ModelError(f"The file '{path}' is damaged or incomplete ({error}); get it again.") from error
    if declared > size:
        raise ModelError(
            f"The file '{path}' has {size / 1e6:.1f} MB and would unpack to {declared / 1e6:.1f} MB, which no "
            "checkpoint written by torch does; do not use it."
        )


def _read_torch(path: Path, mapped: bool) -> Checkpoint:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters is said in the error
            content = torch.load(str(path), map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise _unpickling_error(path, error) from error
    except MemoryError as error:
        raise ModelError(f"The file '{path}' does not fit into memory; use a smaller model.") from error
    except (OSError, *_DAMAGE) as error:
        raise ModelError(
            f"The file '{path}' is damaged, incomplete or no checkpoint ({_first_sentence(error)}); get it again."
        ) from error
    return Checkpoint(path, _state_dict(content, path))


def _unpickling_error(path: Path, error: pickle.UnpicklingError) -> ModelError:
    """torch names the object it would not load as 'GLOBAL module.name' in the middle of a paragraph."""
    named = re.search(r"GLOBAL (\S+)", str(error))
    if named is None:
        return ModelError(
            f"The file '{path}' is damaged or holds more than weights, so it was not loaded; give a .pth, .pt or "
            ".safetensors file that holds a SAM's state dict only."
        )
    return ModelError(
        f"The file '{path}' holds '{named[1]}', which is no weight and could run code, so it was not loaded; "
        "give a file that holds the state dict only."
    )


def _first_sentence(error: Exception) -> str:
    return str(error).strip().split("\n")[0].split(". ")[0][:120] or type(error).__name__


def _state_dict(content: object, path: Path) -> dict[str, torch.Tensor]:
    """The state dict in what torch.load returned, out of a training program's wrapper where there is one."""
    import torch

    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
            break
    if not isinstance(content, dict) or not content:
        raise ModelError(f"The file '{path}' holds no weights; give a file that holds a SAM's state dict.")
    stray = [key for key, value in content.items() if not isinstance(key, str) or not isinstance(value, torch.Tensor)]
    if stray:
        raise ModelError(
            f"The file '{path}' holds '{stray[0]}', which is no tensor; give a file that holds a SAM's state dict only."
        )
    # Training on several GPUs puts 'module.' in front of every key.
    if all(key.startswith("module.") for key in content):
        return {key.removeprefix("module."): value for key, value in content.items()}
    return dict(content)
