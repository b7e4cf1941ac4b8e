"""The weights shipped with MedPerSAM: float16 safetensors with their configuration in the metadata."""

from __future__ import annotations

from pathlib import Path


def weights_path(name: str) -> Path:
    """Path of the shipped weights ``name``: 'tiny' (the embedded SAM) or 'warp' (the warping network).

    Raises:
        FileNotFoundError: no such weights are shipped.
    """
    path = Path(__file__).parent / f"{name}.safetensors"
    if not path.is_file():
        shipped = ", ".join(sorted(p.stem for p in path.parent.glob("*.safetensors"))) or "none"
        raise FileNotFoundError(f"No weights named '{name}' are shipped with MedPerSAM; shipped are: {shipped}.")
    return path
