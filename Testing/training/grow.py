"""Start a deeper embedded model from the weights of a shallower one, so that at first it computes the same."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from MedPerSAMLib.core.sam.tiny import Attention, Residual, TinyConfig, build_tiny, load_tiny


def grow_tiny(path: Path, config: TinyConfig) -> nn.Module:
    """An embedded model of shape ``config`` that computes what the weights in ``path`` compute.

    Its widths must be those of the file; residual and attention blocks may be more, and the added ones start as identities.

    Raises:
        ValueError: the file holds weights for which the new shape has no place.
    """
    sam = build_tiny(config)
    for module in sam.image_encoder.modules():
        if isinstance(module, Residual):
            nn.init.zeros_(module.second[1].weight)
            nn.init.zeros_(module.second[1].bias)
        elif isinstance(module, Attention):
            for layer in (module.out, module.mlp[-1]):
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)
    state = sam.state_dict()
    known = load_tiny(path).state_dict()
    misfits = [key for key, value in known.items() if key not in state or state[key].shape != value.shape]
    if misfits:
        raise ValueError(f"{path} does not fit into {config}: {', '.join(misfits[:3])} (of {len(misfits)}).")
    sam.load_state_dict(state | known)
    return sam
