"""From a model's name or path to a predictor on a device."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from MedPerSAMLib.errors import InputError, ModelError
from MedPerSAMLib.services.models.checkpoint import Checkpoint, load_weights, read_checkpoint
from MedPerSAMLib.services.models.files import sha256
from MedPerSAMLib.services.models.registry import DEFAULT, ModelEntry, recognise
from MedPerSAMLib.services.models.store import ModelStore

if TYPE_CHECKING:
    from torch import nn

    from MedPerSAMLib.core.progress import Progress
    from MedPerSAMLib.core.sam.predictor import Predictor

DEVICES = ("auto", "cpu", "cuda", "mps")
"""What ``--device`` takes."""

# The released ViT encoders hold every pair of embedding pixels of every head at once in their global attention.
_BYTES_PER_FRAME = {"vit_b": 2.5e9, "vit_l": 3.5e9, "vit_h": 4.5e9, "mobile_sam": 1e9}


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to use.

    Attributes:
        predictor: the frozen SAM on its device.
        name: registry or import name, or the file's name for a path.
        checksum: SHA-256 of the file.
        entry: what it is; for a path, the entry of its format.
    """

    predictor: Predictor
    name: str
    checksum: str
    entry: ModelEntry

    @property
    def key(self) -> str:
        """Names the weights themselves, for stores of embeddings: two files of one name differ in it."""
        return f"{self.entry.format}-{self.checksum}"


def load_predictor(
    name_or_path: str | Path = DEFAULT,
    device: str = "cpu",
    store: ModelStore | None = None,
    progress: Progress | None = None,
) -> LoadedModel:
    """Load a model by its name, or a checkpoint by its path, strictly.

    Args:
        name_or_path: of the registry, of an imported model, or of a file.
        device: one of DEVICES, or what torch takes, such as 'cuda:1'.
        store: the user's models; the default folder's unless given.
        progress: told about hashing, which takes seconds for large files.

    Raises:
        ModelError: unknown, not there, damaged, or not fitting.
        InputError: the device is not there.
    """
    from MedPerSAMLib.core.sam.predictor import Predictor

    device, _ = choose_device(device)
    store = ModelStore() if store is None else store
    found = store.find(name_or_path)
    if isinstance(found, Path):
        checksum = sha256(found, progress)
        sam, entry = load_sam(found)
        name = found.name
    else:
        checksum = store.checksum(found, progress)
        sam, entry = load_sam(found.path, found.entry)
        name = entry.name
    return LoadedModel(Predictor(sam, device, _batch(entry, device)), name, checksum, entry)


def load_sam(path: str | Path, entry: ModelEntry | None = None) -> tuple[nn.Module, ModelEntry]:
    """A checkpoint file as a ``segment_anything.modeling.Sam`` on the CPU, and the entry of its format.

    Args:
        path: of the file.
        entry: what the file has to be; recognised by its keys unless given.

    Raises:
        ModelError: the file is not safe, damaged, of no known format, or does not fit.
    """
    import torch

    from MedPerSAMLib.core.sam.nothing_drawn import nothing_drawn

    checkpoint = read_checkpoint(path)
    kind = recognise(checkpoint.shapes, checkpoint.metadata) if entry is None else entry
    if kind is None:
        raise ModelError(
            f"The file '{path}' holds no SAM that MedPerSAM knows (its first keys are "
            f"{', '.join(list(checkpoint.tensors)[:3])}); give a checkpoint of ViT-B, ViT-L, ViT-H, MobileSAM or tiny."
        )
    # No memory and no random numbers for weights that are replaced at once.
    with torch.device("meta"), nothing_drawn():
        sam = _build(kind, checkpoint)
    load_weights(sam, checkpoint, kind.name)
    return sam.eval(), kind


_told: dict[str, str] = {}
"""Requested device -> the sentence that was last given or raised about it."""


def told_device(requested: str) -> str | None:
    """The sentence that :func:`choose_device` last gave or raised about a device, without asking PyTorch again; None where
    it was not asked yet."""
    return _told.get(requested)


def choose_device(requested: str = "auto") -> tuple[str, str]:
    """The device to use, and one sentence that says why.

    'auto' takes a CUDA GPU that works, else the CPU. Apple's GPU is used only when asked for: in most releases of
    PyTorch it lacks ``grid_sample`` with border padding, on which frames and warps rest.

    Raises:
        InputError: the device that was asked for is unknown, not there, or not usable.
    """
    try:
        device, _told[requested] = _choose_device(requested)
    except InputError as error:
        _told[requested] = str(error)
        raise
    return device, _told[requested]


def _choose_device(requested: str) -> tuple[str, str]:
    kind = requested.partition(":")[0]
    if kind not in DEVICES:
        raise InputError(f"There is no device '{requested}'; use one of {', '.join(DEVICES)}.")
    if kind == "cpu":
        return "cpu", "The CPU is used, as asked for."
    device = "cuda" if kind == "auto" else requested
    fault = _fault(device)
    if fault is None:
        return device, f"{_title(device)} is used{', as asked for' if kind != 'auto' else ''}."
    if kind != "auto":
        raise InputError(f"The device '{requested}' cannot be used because {fault}; choose cpu or auto.")
    return "cpu", f"The CPU is used because {fault}."


def _fault(device: str) -> str | None:
    """Why a device cannot be used, as the end of a sentence; None if it works."""
    import torch

    if device.startswith("mps"):
        if not torch.backends.mps.is_available():
            return "PyTorch finds no Apple GPU on this computer"
    elif not torch.cuda.is_available():
        if torch.version.cuda is None and shutil.which("nvidia-smi"):
            return f"the installed PyTorch {torch.__version__} has no CUDA support, although there is an NVIDIA driver"
        return "PyTorch finds no CUDA GPU on this computer"
    try:
        # What is listed as available still fails where the driver or the PyTorch build does not fit the GPU.
        grid = torch.zeros(1, 2, 2, 2, device=device)
        torch.nn.functional.grid_sample(grid, grid, padding_mode="border", align_corners=False).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        return f"a first computation on it failed ({str(error).strip().splitlines()[0][:120]})"
    return None


def _title(device: str) -> str:
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else "Apple's GPU"


def _build(entry: ModelEntry, checkpoint: Checkpoint) -> nn.Module:
    try:
        return entry.builder(checkpoint.metadata)
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        if not checkpoint.metadata:
            raise  # nothing of the file took part in the building
        raise ModelError(
            f"The configuration inside '{checkpoint.path}' builds no model ({type(error).__name__}: {error}); get the "
            "file again."
        ) from error


def _batch(entry: ModelEntry, device: str) -> int:
    """Frames to encode at a time, so that a CPU run stays within about 3 GB and a GPU within its free memory."""
    import torch

    if entry.format not in _BYTES_PER_FRAME:
        return 8
    if not device.startswith("cuda"):
        return 1
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, min(8, int(free * 0.7 / _BYTES_PER_FRAME[entry.format])))
