"""Half precision where a device gains by it, and what is computed can bear it."""

from __future__ import annotations

import contextlib

import torch


def fast_precision(device: torch.device) -> contextlib.AbstractContextManager:
    """Autocast to half precision where the device gains by it, else nothing."""
    # No autocast at all where it does not gain: for some devices not even a disabled one can be made.
    return torch.autocast(device.type, dtype=_half(device)) if _gains_by_half(device) else contextlib.nullcontext()


def encoder_precision(encoder: torch.nn.Module, device: torch.device) -> contextlib.AbstractContextManager:
    """:func:`fast_precision`, but for an encoder that says by ``full_precision`` that rounding costs more than it gains."""
    return contextlib.nullcontext() if getattr(encoder, "full_precision", False) else fast_precision(device)


def _half(device: torch.device) -> torch.dtype:
    """bfloat16 where the device has it; older GPUs would only emulate it."""
    native = device.type != "cuda" or torch.cuda.get_device_capability(device) >= (8, 0)
    return torch.bfloat16 if native else torch.float16


def _gains_by_half(device: torch.device) -> bool:
    """Half precision pays on CUDA, and on CPUs with native bfloat16 matrix units."""
    if device.type == "cpu":
        return torch.cpu._is_avx512_bf16_supported() if hasattr(torch.cpu, "_is_avx512_bf16_supported") else False
    return device.type == "cuda"
