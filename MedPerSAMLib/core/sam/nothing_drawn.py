"""Builds a SAM on the meta device without torch's compiler.

Random numbers on the meta device are worked out in Python, for which torch imports its compiler: two seconds for numbers that are
never there, and that the checkpoint replaces.
"""

from __future__ import annotations

import torch
from torch.overrides import TorchFunctionMode


class nothing_drawn(TorchFunctionMode):
    """Inside, ``torch.randn`` gives zeros on the CPU, and layers leave their weights as they were made."""

    def __torch_function__(self, function, _types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is torch.randn:
            return torch.zeros(*args, device="cpu")
        if function is torch.nn.init.normal_:
            return args[0] if args else kwargs["tensor"]
        return function(*args, **kwargs)
