"""Compare weights of the embedded model on fixed generated images that training never showed.

    python -m Testing.training.compare old.safetensors new.safetensors --seeds 0 1 2
    python -m Testing.training.compare old.safetensors new.safetensors --shares 0.5 0.75

Prints, for every file, the training's loss over all kinds of prompts and the mean Dice per kind, over the sets of all seeds; one device
draws the same images each time. ``--shares`` adds weights between two files: so much of the way from the first to the second one.
By the loss the weights that are shipped are chosen.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import mean

import torch
from safetensors.torch import load_file

from MedPerSAMLib.core.sam.predictor import decode
from MedPerSAMLib.core.sam.tiny import load_tiny
from MedPerSAMLib.core.warp.network import WarpNetwork, load_warp
from MedPerSAMLib.weights import weights_path
from Testing.training.fields import Random
from Testing.training.g_point import likeness
from Testing.training.prompts import KINDS, draw_prompts
from Testing.training.samples import draw_images, draw_targets
from Testing.training.train_tiny import VALIDATION_SEED, normalise, prompt_loss, validate
from Testing.training.weights import between

APART = 100  # seeds of two sets; a set's batches have consecutive ones


def compare(
    models: Mapping[str, torch.nn.Module], seeds: list[int], batches: int, device: str
) -> dict[str, dict[str, float]]:
    """Name -> mean loss, and mean figures of ``train_tiny.validate``, over the sets of all seeds."""
    warper = load_warp(weights_path("warp")).to(device).requires_grad_(False)
    warper.config = replace(warper.config, passes=3)  # as in training
    found = {}
    for name, sam in models.items():
        sam = sam.to(device)
        firsts = [VALIDATION_SEED + APART * seed for seed in seeds]
        sets = [
            {"loss": loss(sam, warper, device, batches, first), **validate(sam, warper, device, batches, first)}
            for first in firsts
        ]
        found[name] = {key: mean(figures[key] for figures in sets) for key in sets[0]}
    return found


@torch.no_grad()
def loss(sam: torch.nn.Module, warper: WarpNetwork, device: str, batches: int, seed: int) -> float:
    """What training makes smaller, each kind of prompt with its share, on fixed generated images; without second rounds."""
    sam.eval()
    total = 0.0
    for batch in range(batches):
        random = Random(seed + batch, device)
        images = draw_images(random, warper, 4, 2)
        embeddings = sam.image_encoder(normalise(sam, images.frames))
        for kind, share in KINDS.items():
            targets = draw_targets(random, images)
            score = likeness(embeddings, embeddings[images.neighbour], targets.shown, targets.mask.shape[-1])
            prompts = draw_prompts(random, kind, targets.mask, targets.carried, score)
            logits, predicted = decode(sam, embeddings, prompts)
            total += share * float(prompt_loss(logits, predicted, targets.mask, kind)) / batches
    return total


def models_of(files: list[Path], shares: list[float]) -> dict[str, torch.nn.Module]:
    """The files' models, and with shares those so much of the way from the first file to the second one."""
    models = {str(path): load_tiny(path) for path in files}
    for share in shares:
        models[f"{share:g} of the way"] = load_tiny(files[0])
        state = between(load_file(files[0]), load_file(files[1]), share)
        models[f"{share:g} of the way"].load_state_dict({key: value.float() for key, value in state.items()})
    return models


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--shares", nargs="+", type=float, default=[])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--batches", type=int, default=6, help="of 16 images in each set")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    if options.shares and len(options.files) != 2:
        parser.error("--shares lie between two files")
    torch.set_flush_denormal(True)
    compared = compare(models_of(options.files, options.shares), options.seeds, options.batches, options.device)
    for name, figures in compared.items():
        print(f"{name}: " + ", ".join(f"{key} {value:.4f}" for key, value in figures.items()), flush=True)
