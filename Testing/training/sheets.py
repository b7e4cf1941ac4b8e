"""Draw sheets of generated slice pairs, so that the generator can be judged by eye.

    python -m Testing.training.sheets /tmp/sheet.png --seed 1
"""

from __future__ import annotations

import argparse

import matplotlib.pyplot as plt
import torch

from Testing.training.fields import Random, resize
from Testing.training.looks import PRESETS, SIDES, render
from Testing.training.shapes import draw_scene, labels


def draw_sheet(path: str, seed: int, columns: int = 5) -> None:
    """Write a picture with one row per preset, pairs of consecutive slices with their label outlines on the first."""
    random = Random(seed)
    figure, axes = plt.subplots(len(PRESETS), 2 * columns, figsize=(4 * columns, 2 * len(PRESETS)))
    for row, (preset, (_, kinds)) in zip(axes, PRESETS.items()):
        for column in range(columns):
            side = random.choice(SIDES[preset])
            scene = draw_scene(random, 1, 2, random.choice(list(kinds), list(kinds.values())))
            frames = render(random, scene, preset, side)[0]
            label = labels(scene, 128)[0]
            for j in range(2):
                axis = row[2 * column + j]
                axis.imshow(frames[j].movedim(0, -1).expand(-1, -1, 3), vmin=0, vmax=1)
                if j == 0:
                    big = resize(label[j][None, None].float(), 256)[0, 0]
                    for value in label[j].unique():
                        axis.contour(big.round() == value, [0.5], linewidths=0.4, colors=[plt.cm.tab20(int(value))])
                axis.set_title(f"{preset} {side}", fontsize=6)
                axis.axis("off")
    figure.tight_layout(pad=0.2)
    figure.savefig(path, dpi=75)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    draw_sheet(options.path, options.seed)
