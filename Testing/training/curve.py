"""The picture of a training log."""

from __future__ import annotations

import json
from pathlib import Path


def draw_curve(log: Path, picture: Path) -> None:
    """Loss and validation figures of a log.jsonl over images seen."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    records = [json.loads(line) for line in log.read_text().splitlines()]
    losses = [(r["images"], r["loss"]) for r in records if "loss" in r]
    checks = [(r["images"], r["validation"]) for r in records if "validation" in r]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.5))
    left.plot(*zip(*losses))
    left.set(xlabel="images", ylabel="training loss")
    for key in checks[0][1] if checks else ():
        right.plot([images for images, _ in checks], [values[key] for _, values in checks], label=key)
    right.set(xlabel="images", ylabel="Dice on fixed generated images")
    right.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(picture, dpi=80)
    plt.close(figure)
