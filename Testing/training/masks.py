"""Draw the embedded model's masks on generated images that training never showed it.

    python -m Testing.training.masks Resources/Screenshots/generated-masks.png

Green: the truth. Red: the model's mask. Above, the prompt is the truth's box (white); below, the neighbour slice's mask as the warp carries
it (white) and its box.
"""

from __future__ import annotations

import argparse

import matplotlib.pyplot as plt
import torch

from MedPerSAMLib.core.sam.predictor import Predictor, Prompts, upsample
from MedPerSAMLib.core.sam.tiny import load_tiny
from MedPerSAMLib.core.warp.network import load_warp
from MedPerSAMLib.weights import weights_path
from Testing.training.fields import Random
from Testing.training.looks import FRAME
from Testing.training.prompts import draw_boxes, mask_logits
from Testing.training.samples import draw_images, draw_targets
from Testing.training.train_tiny import VALIDATION_SEED, overlaps


def draw_masks(path: str, columns: int = 7, seed: int = VALIDATION_SEED + 1000) -> None:
    """Write a picture with ``columns`` generated images, each asked by a box and by a carried mask."""
    predictor, warper = Predictor(load_tiny(weights_path("tiny"))), load_warp(weights_path("warp"))
    random = Random(seed)
    frames, truths, carrieds = [], [], []
    while sum(map(len, frames)) < columns:
        images = draw_images(random, warper, 1, 1)
        targets = draw_targets(random, images)
        truth, carried = targets.mask, targets.carried
        there = (truth.sum((1, 2, 3)) > 200).nonzero()[:1, 0]
        frames.append(images.frames[there])
        truths.append(truth[there])
        carrieds.append(carried[there])
    frame, truth, carried = (torch.cat(parts)[:columns] for parts in (frames, truths, carrieds))
    embeddings = predictor.encode(frame)
    boxes = [draw_boxes(random, truth, False), draw_boxes(random, carried, True)]
    prompts = [Prompts(boxes=boxes[0]), Prompts(boxes=boxes[1], mask_logits=mask_logits(random, carried))]
    figure, axes = plt.subplots(2, columns, figsize=(2 * columns, 4.6))
    for row, (prompt, box) in enumerate(zip(prompts, boxes)):
        logits = predictor.decode(embeddings, prompt).logits
        dice = overlaps(logits, truth)[1][:, 0]
        fine = upsample(logits, FRAME)
        for column in range(columns):
            axis = axes[row, column]
            axis.imshow(frame[column].movedim(0, -1), vmin=0, vmax=1)
            if row == 0:
                x0, y0, x1, y1 = box[column].tolist()
                axis.add_patch(plt.Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, color="white", linewidth=0.8))
            else:
                _outline(axis, upsample(carried[column : column + 1], FRAME)[0, 0] - 0.5, "white")
            _outline(axis, upsample(truth[column : column + 1], FRAME)[0, 0] - 0.5, "lime")
            _outline(axis, fine[column, 0], "red")
            axis.set_title(f"{'carried mask' if row else 'box'}: Dice {dice[column]:.2f}", fontsize=8)
            axis.axis("off")
    figure.tight_layout(pad=0.8, h_pad=2.0)  # the titles of the second row stay off the pictures above
    figure.savefig(path, dpi=80)


def _outline(axis: plt.Axes, level: torch.Tensor, colour: str) -> None:
    if level.max() > 0 > level.min():
        axis.contour(level, [0], colors=[colour], linewidths=1.0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path")
    torch.set_num_threads(1)
    draw_masks(parser.parse_args().path)
