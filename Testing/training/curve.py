"""The picture of a training log."""

from __future__ import annotations

import json
from pathlib import Path


def write_log(log: Path, record: dict) -> None:
    """Print a record and add it to a log.jsonl."""
    print(json.dumps(record), flush=True)
    with log.open("a") as file:
        file.write(json.dumps(record) + "\n")


def draw_curve(
    log: Path, picture: Path, seen: str = "images", scores: str = "validation", title: str = "on fixed generated images"
) -> None:
    """Loss and Dice of a log.jsonl over what was seen.

    Args:
        log: a JSON object a line; any may have a ``loss``, and Dice figures by name under ``scores``.
        picture: the PNG to write.
        seen: key of how much had been seen.
        scores: key of the Dice figures.
        title: what the Dice was measured on.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    records = [json.loads(line) for line in log.read_text().splitlines()]
    losses = [(r[seen], r["loss"]) for r in records if "loss" in r]
    checks = [(r[seen], r[scores]) for r in records if scores in r]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.5))
    left.plot(*zip(*losses))
    left.set(xlabel=seen, ylabel="training loss")
    for key in checks[0][1] if checks else ():
        right.plot([count for count, _ in checks], [values[key] for _, values in checks], label=key)
    right.set(xlabel=seen, ylabel=f"Dice {title}")
    if checks:
        right.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(picture, dpi=80)
    plt.close(figure)
