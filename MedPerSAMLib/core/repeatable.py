"""The same result from the same input on one device, also where a part is trained on a GPU."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Inside, a GPU adds up gradients in a fixed order, where PyTorch knows how; a CPU always does.

    The switches are PyTorch's own, for the whole process, and are as before afterwards. An operation that has no fixed order
    still works, with PyTorch's warning.
    """
    if device.type != "cuda":
        yield
        return
    # Read when cuBLAS is first used; without it PyTorch warns and sums as it comes.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark,
    )
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.benchmark = before[2]
