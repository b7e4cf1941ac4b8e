"""How long the embedded model's encoder and decoder, and the warp beside demons, take on this machine's CPU.

    python -m Testing.benchmarks.model [--threads 2]

Run it on a machine that does nothing else: medians of milliseconds per slice and per prompt set, side by side in one run.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import SimpleITK
import torch

from MedPerSAMLib.core.sam.predictor import Predictor, Prompts
from MedPerSAMLib.core.sam.tiny import load_tiny
from MedPerSAMLib.core.warp.network import load_warp, warp
from MedPerSAMLib.services.evaluation.demons import ITERATIONS, carry_by_demons
from MedPerSAMLib.weights import weights_path
from Testing.training.fields import Random
from Testing.training.train_warp import draw_pairs

BATCH = 8
WARP, DEMONS = "carry a mask, the warp", f"carry a mask, demons ({ITERATIONS})"


def milliseconds(work: Callable[[], object], repeats: int, items: int) -> float:
    """Median milliseconds per item; the first run is not counted."""
    work()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds) / items


def rows(repeats: int) -> dict[str, float]:
    """What is timed -> milliseconds per slice or prompt set."""
    predictor, warper = Predictor(load_tiny(weights_path("tiny"))), load_warp(weights_path("warp"))
    frames = torch.rand(BATCH, 1, 256, 256)
    embeddings = predictor.encode(frames)
    boxes = torch.tensor([[60.0, 70.0, 150.0, 170.0]]).repeat(BATCH, 1)
    everything = Prompts(
        torch.rand(BATCH, 8, 2) * 256, torch.ones(BATCH, 8, dtype=torch.long), boxes, torch.randn(BATCH, 1, 128, 128)
    )
    small = torch.rand(BATCH, 1, 128, 128)
    with torch.inference_mode():
        found = {
            "encoder": milliseconds(lambda: predictor.encode(frames), repeats, BATCH),
            "decoder, a box": milliseconds(lambda: predictor.decode(embeddings, Prompts(boxes=boxes)), repeats, BATCH),
            "decoder, box, points and mask": milliseconds(
                lambda: predictor.decode(embeddings, everything), repeats, BATCH
            ),
            "decoder, the same one by one": milliseconds(
                lambda: predictor.decode(embeddings[:1], everything[slice(0, 1)]), repeats, 1
            ),
            "warp, one field of 128 px": milliseconds(lambda: warper(small, small.flip(0)), repeats, BATCH),
        }
    return found


def carrying_rows(repeats: int) -> dict[str, float]:
    """Milliseconds to carry a mask to the next slice by the warp and by SimpleITK's demons, on the same generated pairs."""
    warper = load_warp(weights_path("warp"))
    moving, fixed, masks, *_ = draw_pairs(Random(0), BATCH // 2)
    masks = masks[:, 1:2]
    pairs = [tuple(part[0].numpy() for part in pair) for pair in zip(moving, fixed, masks)]
    with torch.inference_mode():
        return {
            WARP: milliseconds(lambda: warp(masks, warper(moving, fixed)), repeats, BATCH),
            DEMONS: milliseconds(lambda: [carry_by_demons(*pair) for pair in pairs], repeats, BATCH),
        }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(options.threads)
    torch.manual_seed(0)
    print(f"{options.threads} threads, batch {BATCH}")
    found = rows(options.repeats) | carrying_rows(options.repeats)
    first = found["encoder"]
    for name, value in found.items():
        print(f"{name:32s} {value:8.1f} ms   {value / first:6.2f} of the encoder")
    print(f"demons take {found[DEMONS] / found[WARP]:.2f} times as long as the warp")


if __name__ == "__main__":
    main()
