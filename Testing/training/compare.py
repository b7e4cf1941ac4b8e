"""Compare weights of the embedded model on fixed generated images that training never showed.

    python -m Testing.training.compare old.safetensors new.safetensors --seeds 0 1 2

Prints, for every file, the mean Dice per prompt kind over the sets of all seeds; one device draws the same images each time.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from statistics import mean

import torch

from MedPerSAMLib.core.sam.tiny import load_tiny
from MedPerSAMLib.core.warp.network import load_warp
from MedPerSAMLib.weights import weights_path
from Testing.training.train_tiny import VALIDATION_SEED, validate

APART = 100  # seeds of two sets; a set's batches have consecutive ones


def compare(files: list[Path], seeds: list[int], batches: int, device: str) -> dict[Path, dict[str, float]]:
    """File -> mean figures of ``train_tiny.validate`` over the sets of all seeds."""
    warper = load_warp(weights_path("warp")).to(device).requires_grad_(False)
    warper.config = replace(warper.config, passes=3)  # as in training
    found = {}
    for file in files:
        sam = load_tiny(file).to(device)
        sets = [validate(sam, warper, device, batches, VALIDATION_SEED + APART * seed) for seed in seeds]
        found[file] = {key: mean(figures[key] for figures in sets) for key in sets[0]}
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--batches", type=int, default=6, help="of 16 images in each set")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    for path, figures in compare(options.files, options.seeds, options.batches, options.device).items():
        print(f"{path}: " + ", ".join(f"{key} {value:.4f}" for key, value in figures.items()), flush=True)
