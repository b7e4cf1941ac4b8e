"""Put trained weights into the package.

    python -m Testing.training.export tiny /work/training/tiny/tiny.safetensors --set version=1

``--earlier FILE --share 0.5`` takes weights half of the way from the earlier ones: what was trained on from others often does best
between both. ``Testing.training.compare --shares`` says where.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file

from MedPerSAMLib import weights
from MedPerSAMLib.core.sam.tiny import TinyConfig
from MedPerSAMLib.core.warp.network import WarpConfig
from Testing.training.weights import between

CONFIGS = {"tiny": TinyConfig, "warp": WarpConfig}
SHIPPED = Path(weights.__file__).parent


def export(
    name: str,
    source: Path,
    changes: dict[str, int | float],
    folder: Path = SHIPPED,
    earlier: Path | None = None,
    share: float = 1.0,
) -> Path:
    """Copy a safetensors file into MedPerSAMLib/weights, with some values of its configuration changed.

    The copy holds the whole configuration, also what an older source leaves to the defaults: a later default must not
    change what these weights do. With ``earlier``, a file of the same shape, its weights lie that
    share of the way from the earlier ones to the source's.
    """
    with safe_open(str(source), framework="pt") as file:
        config = asdict(CONFIGS[name]()) | json.loads(file.metadata()["config"])
        state = {key: file.get_tensor(key).half().contiguous() for key in file.keys()}  # noqa: SIM118
    if earlier is not None:
        state = between(load_file(str(earlier)), state, share)
    unknown = set(changes) - set(config)
    if unknown:
        raise ValueError(f"{source} has no configuration value {', '.join(sorted(unknown))}; it has {', '.join(config)}.")
    target = folder / f"{name}.safetensors"
    save_file(state, str(target), metadata={"config": json.dumps(config | changes)})
    target.chmod(0o644)
    return target


def read_change(text: str) -> tuple[str, int | float]:
    """``key=number`` as both; a number without a point is an integer."""
    key, _, number = text.partition("=")
    return key, int(number) if number.lstrip("-").isdecimal() else float(number)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=list(CONFIGS))
    parser.add_argument("source", type=Path)
    parser.add_argument("--earlier", type=Path, help="weights that the source was trained on from")
    parser.add_argument("--share", type=float, default=1.0, help="how much of the way from the earlier ones is gone")
    parser.add_argument("--set", nargs="*", default=[], help="key=number of the configuration")
    options = parser.parse_args()
    changed = dict(map(read_change, options.set))
    print(export(options.name, options.source, changed, earlier=options.earlier, share=options.share))
