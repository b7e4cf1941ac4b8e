"""Train the warping network on generated slice pairs, SynthMorph-style.

    python -m Testing.training.train_warp /work/training/warp --minutes 15

With ``--start`` an earlier network is trained on. On a GPU: ``--groups 3 --volumes 12``.

A pair is two consecutive slices of one volume with the same look and new noise, or with independent looks. The loss is
1 - Dice of the carried labels, the roughness of the velocity, and for pairs of one look 1 - local NCC. Resumes from the
folder's checkpoint; writes log.jsonl, curve.png and warp.safetensors (moving average of the weights).
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import torch
from torch.nn import functional as F

from MedPerSAMLib.core.precision import fast_precision
from MedPerSAMLib.core.warp.network import WarpNetwork, load_warp, warp, warp_metadata
from Testing.training.curve import draw_curve, write_log
from Testing.training.fields import Random, gaussian_blur
from Testing.training.looks import draw_preset, render
from Testing.training.shapes import SLOTS, draw_scene, labels
from Testing.training.weights import Average, save_half

SIZE = 128  # side of the frames the network is trained on


def draw_pairs(random: Random, volumes: int, most_labels: int = 8) -> tuple[torch.Tensor, ...]:
    """Pairs of one preset: moving and fixed (2v, 1, SIZE, SIZE), their one-hot labels (2v, L, SIZE, SIZE), same look."""
    preset, kind, side = draw_preset(random)
    scene = draw_scene(random, volumes, 2, kind)
    same = not random.happens(0.15)
    frames = render(random, scene, preset, side).mean(2)
    if not same:
        frames[:, 1] = render(random, scene, *_other(random)).mean(2)[:, 1]
    frames = F.avg_pool2d(frames, frames.shape[-1] // SIZE)
    label = labels(scene, SIZE)
    area = F.one_hot(label, SLOTS).sum((2, 3))
    both = area.amin(1) * (area.amin(1) > 20)
    both[:, 0] = 0
    wanted = (both.float().sqrt() + 1e-6 * random.uniform(0, 1, *both.shape)).topk(most_labels, dim=1).indices
    one_hot = (label[:, :, None] == wanted[:, None, :, None, None]).float()
    one_hot = gaussian_blur(one_hot, 1.0)
    one_hot *= (both.gather(1, wanted) > 0)[:, None, :, None, None]
    pair = lambda x: (torch.cat([x[:, 0], x[:, 1]]), torch.cat([x[:, 1], x[:, 0]]))
    (moving, fixed), (from_labels, to_labels) = pair(frames[:, :, None]), pair(one_hot)
    return moving, fixed, from_labels, to_labels, torch.full((len(moving),), same, device=moving.device)


def _other(random: Random) -> tuple[str, int]:
    preset, _, side = draw_preset(random)
    return preset, side


def dice_loss(carried: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """1 - soft Dice, mean over the labels that exist; (B, L, h, w)."""
    overlap = (carried * truth).sum((2, 3))
    total = carried.sum((2, 3)) + truth.sum((2, 3))
    exists = (total > 0).float()
    return ((1 - 2 * overlap / total.clamp(min=1)) * exists).sum() / exists.sum().clamp(min=1)


def local_ncc(first: torch.Tensor, second: torch.Tensor, window: int = 9) -> torch.Tensor:
    """Mean squared local correlation per pair (B,), in 0..1."""
    mean = lambda x: F.avg_pool2d(x, window, 1, window // 2, count_include_pad=False)
    a, b = mean(first), mean(second)
    covariance = mean(first * second) - a * b
    variance = (mean(first**2) - a**2).clamp(min=0) * (mean(second**2) - b**2).clamp(min=0)
    return (covariance**2 / (variance + 1e-6)).mean((1, 2, 3))


def roughness(velocity: torch.Tensor) -> torch.Tensor:
    """Mean squared gradient of a velocity (B, C, h, w), per unit of frame half-widths."""
    scale = velocity.shape[-1] / 2
    return sum((velocity.diff(dim=axis) * scale).pow(2).mean() for axis in (2, 3))


def train(
    folder: Path,
    minutes: float,
    seed: int,
    device: str,
    groups: int,
    volumes: int,
    begin: Path | None,
    steps: float = math.inf,
) -> None:
    """Train until the schedule of ``minutes`` ends, or for ``steps`` steps, resuming from the folder's checkpoint.

    Writes checkpoint.pt, log.jsonl, curve.png and warp.safetensors.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    network = (WarpNetwork() if begin is None else load_warp(begin).train()).to(device)
    network = network.to(memory_format=torch.channels_last)
    average = Average(network, 0.998)
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=1e-4)
    step, spent = 0, 0.0
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True, map_location=device)
        network.load_state_dict(state["network"])
        average.load(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        step, spent = state["step"], state["spent"]
    start = time.time() - spent
    last = step + steps
    running: list[torch.Tensor] = []
    while step < last and (share := (time.time() - start) / 60 / minutes) < 1:
        random = Random(seed * 1_000_003 + step, device)
        batches = zip(*(draw_pairs(random, volumes) for _ in range(groups)))
        moving, fixed, from_labels, to_labels, same = (torch.cat(parts) for parts in batches)
        rate = 2e-3 * min(1, (step + 1) / 100) * (1 - 0.97 * share)
        for group in optimiser.param_groups:
            group["lr"] = rate
        with fast_precision(torch.device(device)):
            field, velocity = network.fields(moving, fixed, passes=2 + step % 4)
        field, velocity = field.float(), velocity.float()
        carried = warp(torch.cat([from_labels, moving], dim=1), field)
        dice = dice_loss(carried[:, :-1], to_labels)
        similarity = (local_ncc(carried[:, -1:], fixed) * same).sum() / same.sum().clamp(min=1)
        loss = dice + 0.03 * roughness(velocity) - 0.5 * similarity
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        average.update(network)
        step += 1
        shown = (loss, dice, dice_loss(from_labels, to_labels), roughness(velocity))
        running.append(torch.stack([value.detach() for value in shown]))
        if step % 50 == 0:
            _log(folder, running, step, step * groups * volumes * 2, share * minutes, rate)
        if step % 200 == 0:
            _save(folder, network, average, optimiser, step, time.time() - start)
    if running:
        _log(folder, running, step, step * groups * volumes * 2, share * minutes, rate)
    _save(folder, network, average, optimiser, step, time.time() - start)


def _log(folder: Path, running: list[torch.Tensor], step: int, pairs: int, minutes: float, rate: float) -> None:
    """Write the means of the steps since the last record; every pair is shown once, so their Dice is of unseen ones."""
    loss, carried, copied, rough = (round(value, 4) for value in torch.stack(running).mean(0).tolist())
    running.clear()
    dice = {"carried": round(1 - carried, 4), "copied": round(1 - copied, 4)}
    record = {"step": step, "pairs": pairs, "minutes": round(minutes, 2), "loss": loss, "dice": dice}
    write_log(folder / "log.jsonl", {**record, "roughness": rough, "rate": rate})


def _save(folder: Path, network, average, optimiser, step: int, spent: float) -> None:
    """Store the state, export the averaged weights, draw the curve."""
    state = {"network": network.state_dict(), "average": average.state, "optimiser": optimiser.state_dict()}
    torch.save({**state, "step": step, "spent": spent}, folder / "checkpoint.pt")
    save_half(average.state, folder / "warp.safetensors", warp_metadata(network))
    log = folder / "log.jsonl"
    if log.exists():
        draw_curve(log, folder / "curve.png", seen="pairs", scores="dice", title="on new generated pairs")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--start", type=Path, help="weights to go on from, with a schedule of its own")
    parser.add_argument("--groups", type=int, default=2, help="presets in a step")
    parser.add_argument("--volumes", type=int, default=4, help="volumes of each preset; two pairs each")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--steps", type=int, default=math.inf, help="most steps of this run; the same command goes on from there"
    )
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    train(
        options.folder,
        options.minutes,
        options.seed,
        options.device,
        options.groups,
        options.volumes,
        options.start,
        options.steps,
    )
