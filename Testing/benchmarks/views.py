"""What a second pass and mirrored views are worth for single slices, on generated images.

    python -m Testing.benchmarks.views

Prints for each kind of prompts the mean Dice of one pass, of a second pass with the answer as mask prompt, and of three views with
one and with two passes (``core.sam.views``), and what they cost as a ratio to the first. Last, the neighbour's mask as the
warp carries it, with its box, by the sharpness of the mask prompt, in one view and in three.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch

from MedPerSAMLib.core.prompts.mask_prompt import mask_prompt
from MedPerSAMLib.core.sam import views
from MedPerSAMLib.core.sam.predictor import Decoded, Predictor, Prompts
from MedPerSAMLib.core.sam.tiny import load_tiny
from MedPerSAMLib.core.warp.network import load_warp, warp
from MedPerSAMLib.weights import weights_path
from Testing.training.fields import Random
from Testing.training.prompts import EXACT, draw_boxes, draw_prompts
from Testing.training.samples import draw_images, draw_targets
from Testing.training.train_tiny import overlaps

FIRST_SEED = 777_000
KINDS = ("box", "box+points", "carried+box")
SHARPNESS = (1.0, 2.0, 4.0, 6.0, 10.0)


def answers(predictor: Predictor) -> dict[str, Callable[[torch.Tensor, Prompts], Decoded]]:
    """Name -> how (B, 3, s, s) frames are asked."""

    def of_views(decode: Callable) -> Callable[[torch.Tensor, Prompts], Decoded]:
        return lambda frames, prompts: views.mean_of_views(
            predictor, views.encode_views(predictor, frames), prompts, decode
        )

    return {
        "one pass": lambda frames, prompts: views.decode_once(predictor, predictor.encode(frames), prompts),
        "two passes": lambda frames, prompts: views.decode_twice(predictor, predictor.encode(frames), prompts),
        "three views": of_views(views.decode_once),
        "three views, two passes": of_views(views.decode_twice),
    }


def compare(batches: int) -> None:
    """Print the table over ``batches`` of 16 images."""
    predictor = Predictor(load_tiny(weights_path("tiny")))
    warper = load_warp(weights_path("warp")).requires_grad_(False)
    ways = answers(predictor)
    dice = {(kind, way): [] for kind in KINDS for way in ways}
    sharp = {(k, ask): [] for k in SHARPNESS for ask in ("one", "three")}
    itself = []
    seconds = dict.fromkeys(ways, 0.0)
    for batch in range(batches):
        random = Random(FIRST_SEED + batch)
        with torch.no_grad():
            images = draw_images(random, warper, 4, 2)
            for kind in KINDS:
                targets = draw_targets(random, images)
                truth = targets.mask
                prompts, exists = draw_prompts(random, kind, truth, targets.carried), truth.sum((1, 2, 3)) > 0
                for way, ask in ways.items():
                    start = time.perf_counter()
                    found = ask(images.frames, prompts)
                    seconds[way] += time.perf_counter() - start
                    dice[kind, way].append(overlaps(found.logits, truth)[1][exists, 0])
            targets = draw_targets(random, images)
            carried, exists = warp(targets.known, images.field), targets.mask.sum((1, 2, 3)) > 0
            itself.append(overlaps(carried - 0.5, targets.mask)[1][exists, 0])
            boxes, seen = draw_boxes(random, carried, grown=True, errors=EXACT), views.encode_views(predictor, images.frames)
            for k in SHARPNESS:
                asked = Prompts(boxes=boxes, mask_logits=mask_prompt(carried, k, predictor.mask_size))
                for many, some in (("one", seen[:1]), ("three", seen)):
                    found = views.mean_of_views(predictor, some, asked, views.decode_once)
                    sharp[k, many].append(overlaps(found.logits, targets.mask)[1][exists, 0])
    for kind in KINDS:
        print(f"{kind}: " + ", ".join(f"{way} {float(torch.cat(dice[kind, way]).mean()):.4f}" for way in ways))
    print(f"the neighbour's mask as carried: {float(torch.cat(itself).mean()):.4f}")
    for many in ("one", "three"):
        rows = (f"{k:g} {float(torch.cat(sharp[k, many]).mean()):.4f}" for k in SHARPNESS)
        print(f"asked about it in {many}, by sharpness: " + ", ".join(rows))
    print("time: " + ", ".join(f"{way} {spent / seconds['one pass']:.1f}" for way, spent in seconds.items()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=12)
    torch.set_flush_denormal(True)
    compare(parser.parse_args().batches)
