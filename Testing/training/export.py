"""Put trained weights into the package.

    python -m Testing.training.export tiny /work/training/tiny/tiny.safetensors --set version=1
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file

from MedPerSAMLib import weights


def export(name: str, source: Path, changes: dict[str, int]) -> Path:
    """Copy a safetensors file into MedPerSAMLib/weights, with some values of its configuration changed."""
    with safe_open(str(source), framework="pt") as file:
        config = json.loads(file.metadata()["config"])
        state = {key: file.get_tensor(key).half().contiguous() for key in file.keys()}  # noqa: SIM118
    unknown = set(changes) - set(config)
    if unknown:
        raise ValueError(f"{source} has no configuration value {', '.join(sorted(unknown))}; it has {', '.join(config)}.")
    target = Path(weights.__file__).parent / f"{name}.safetensors"
    save_file(state, str(target), metadata={"config": json.dumps(config | changes)})
    target.chmod(0o644)
    return target


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=["tiny", "warp"])
    parser.add_argument("source", type=Path)
    parser.add_argument("--set", nargs="*", default=[], help="key=integer of the configuration")
    options = parser.parse_args()
    print(export(options.name, options.source, {k: int(v) for k, v in (item.split("=") for item in options.set)}))
