"""Train the embedded model on generated slice pairs.

    python -m Testing.training.train_tiny /work/training/tiny --warp /work/training/warp/warp.safetensors --minutes 85

On a CPU two workers of one thread each, which average their gradients, are faster than one process of two threads.

With ``--start`` an earlier model is trained on, usually with ``--coarse 0``; it may have fewer blocks than the new one.
``--frozen-encoder`` leaves its encoder as it is: features stay what they were, and a step is cheaper.
On a GPU: ``--workers 1 --groups 4 --volumes 16 --fresh 0.25``.

The first part of the schedule runs at half resolution, which is four times faster and teaches what prompts mean.
Each image is encoded once and decoded with several prompt sets, each for another structure; three in ten get a second
round with the first output as mask prompt. Resumes from the folder's checkpoint; writes log.jsonl, curve.png and
tiny.safetensors (moving average of the weights).
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
from scipy.stats import spearmanr
from torch.nn import functional as F

from MedPerSAMLib.core.precision import fast_precision
from MedPerSAMLib.core.sam.predictor import Prompts, decode
from MedPerSAMLib.core.sam.tiny import TinyConfig, build_tiny, tiny_metadata
from MedPerSAMLib.core.warp.network import WarpNetwork, load_warp, warp
from Testing.training.curve import draw_curve, write_log
from Testing.training.fields import Random
from Testing.training.g_point import likeness
from Testing.training.grow import grow_tiny
from Testing.training.prompt_tokens import embed_points_without_waiting
from Testing.training.prompts import EXACT, KINDS, draw_boxes, draw_prompts
from Testing.training.samples import Replay, draw_images, draw_targets
from Testing.training.source import Source
from Testing.training.weights import Average, save_half

VALIDATION_SEED = 987_654_321
VALIDATION_KINDS = ("box", "point", "box+points", "carried+box")
_STEEPNESS = 8.0  # log-odds of a likeness of 1


def mask_losses(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Cross-entropy plus soft Dice of each mask: (B, M, m, m) and (B, 1, m, m) -> (B, M).

    Half of the cross-entropy is that of the structure's surroundings alone, where the decision is hard.
    """
    near = neighbourhood(truth)
    truth = truth.expand_as(logits)
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    local = (entropy * near).sum((2, 3)) / near.sum((2, 3)).clamp(min=1)
    probability = logits.sigmoid()
    overlap = 2 * (probability * truth).sum((2, 3)) + 10
    dice = 1 - overlap / (probability.sum((2, 3)) + truth.sum((2, 3)) + 10)
    return entropy.mean((2, 3)) + local + dice


def neighbourhood(truth: torch.Tensor) -> torch.Tensor:
    """(B, 1, m, m): 1 in the box of each mask, grown by a twelfth of the frame."""
    reach = truth.shape[-1] // 12
    rows = F.max_pool1d(truth.amax(3), 2 * reach + 1, 1, reach)
    columns = F.max_pool1d(truth.amax(2), 2 * reach + 1, 1, reach)
    return rows[..., None] * columns[:, :, None]


def prototype_loss(features: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """How badly the mean inside and the mean around a structure tell its pixels apart, in (B, C, m, m) features.

    This teaches the encoder which pixels belong together before the decoder knows how to ask for them.
    """
    exists = truth.sum((1, 2, 3)) > 0
    near = neighbourhood(truth)
    outer = near * (1 - truth)
    inside, outside = (
        (features * part).sum((2, 3), keepdim=True) / part.sum((2, 3), keepdim=True).clamp(min=1)
        for part in (truth, outer)
    )
    direction = inside - outside
    scores = ((features - (inside + outside) / 2) * direction).sum(1, keepdim=True)
    entropy = F.binary_cross_entropy_with_logits(scores, truth, reduction="none")
    # Both sides count alike, however thin the structure.
    sides = [(entropy * part).sum((1, 2, 3)) / part.sum((1, 2, 3)).clamp(min=1) for part in (truth, outer)]
    return ((sides[0] + sides[1]) / 2 * exists).mean()


def likeness_loss(embeddings: torch.Tensor, other: torch.Tensor, shown: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """How badly the pipeline's likeness to the structure on another slice tells its pixels from all others.

    Args:
        embeddings, other: (B, C, e, e) of the images and of the slices on which the structure is known.
        shown, truth: (B, 1, m, m) the structure on either; images where one has none count nothing.
    """
    size = embeddings.shape[-1]
    scores = _STEEPNESS * likeness(embeddings, other, shown, size)[:, None]
    part = F.interpolate(truth, (size, size), mode="area")
    entropy = F.binary_cross_entropy_with_logits(scores, part, reduction="none")
    near = neighbourhood(part) * (1 - part)
    sides = [(entropy * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp(min=1e-3) for weight in (part, near, 1 - part)]
    exists = (part.sum((1, 2, 3)) > 0) & (shown.sum((1, 2, 3)) > 0)
    return ((sides[0] / 2 + sides[1] / 4 + sides[2] / 4) * exists).mean()


def overlaps(logits: torch.Tensor, truth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """IoU and Dice (B, M) of the masks ``logits > 0``; two empty masks agree."""
    masks, truth = logits > 0, truth.expand_as(logits) > 0.5
    both = (masks & truth).sum((2, 3)).float()
    total = masks.sum((2, 3)) + truth.sum((2, 3)).float()
    iou = torch.where(total > 0, both / (total - both).clamp(min=1), 1.0)
    return iou, torch.where(total > 0, 2 * both / total.clamp(min=1), 1.0)


def prompt_loss(logits: torch.Tensor, predicted_iou: torch.Tensor, truth: torch.Tensor, kind: str) -> torch.Tensor:
    """Loss of all four masks of a prompt set; the three alternatives count more where the prompt is ambiguous."""
    losses = mask_losses(logits, truth)
    best = losses[:, 1:].min(1).values.mean()
    iou, _ = overlaps(logits.detach(), truth)
    # A structure that has ended: whatever is drawn there is worth nothing.
    iou = iou * (truth.sum((1, 2, 3)) > 0)[:, None]
    judged = 4 * F.mse_loss(predicted_iou, iou) + 0.5 * order_loss(predicted_iou[:, 0], iou[:, 0])
    return losses[:, 0].mean() + (1.0 if kind == "point" else 0.3) * best + judged


def order_loss(predicted: torch.Tensor, true: torch.Tensor, margin: float = 0.1) -> torch.Tensor:
    """How badly (B,) predicted values order the true ones: a smooth hinge over all pairs that truly differ."""
    above = (true[:, None] - true) > 0.02
    wrong = margin * F.softplus((predicted - predicted[:, None]) / margin)
    return (wrong * above).sum() / above.sum().clamp(min=1)


def second_round(random: Random, prompts: Prompts, logits: torch.Tensor) -> Prompts:
    """The same prompts with the first output as mask prompt: its logits, or k(2p - 1) and its own box."""
    logits = logits.detach()[:, :1]
    if random.happens(0.5):
        return replace(prompts, mask_logits=logits.clamp(-20, 20))
    probability = logits.sigmoid()
    boxes = None if prompts.boxes is None else draw_boxes(random, probability, True)
    return replace(prompts, mask_logits=random.scalar(4, 12) * (2 * probability - 1), boxes=boxes)


def set_frame(sam: torch.nn.Module, size: int) -> None:
    """Let the model work on frames of another size; masks follow."""
    encoder = sam.prompt_encoder
    encoder.input_image_size = (size, size)
    encoder.image_embedding_size = (size // 8, size // 8)


def halve(prompts: Prompts) -> Prompts:
    """The prompts in a frame of half the size."""
    return Prompts(
        None if prompts.points is None else prompts.points / 2,
        prompts.labels,
        None if prompts.boxes is None else prompts.boxes / 2,
        None if prompts.mask_logits is None else F.avg_pool2d(prompts.mask_logits, 2),
    )


@torch.no_grad()
def validate(
    sam: torch.nn.Module, warper: WarpNetwork, device: str, batches: int, seed: int = VALIDATION_SEED
) -> dict[str, float]:
    """Mean Dice on a fixed set of generated images per prompt kind, of the carried masks themselves, IoU error and rank."""
    sam.eval()
    totals: dict[str, list[torch.Tensor]] = {}
    judged: list[tuple[torch.Tensor, torch.Tensor]] = []
    for batch in range(batches):
        random = Random(seed + batch, device)
        images = draw_images(random, warper, 4, 2)
        targets = draw_targets(random, images)
        truth, carried = targets.mask, targets.carried
        exists = truth.sum((1, 2, 3)) > 0
        with fast_precision(torch.device(device)):
            embeddings = sam.image_encoder(normalise(sam, images.frames))
            for kind in VALIDATION_KINDS:
                logits, predicted = decode(sam, embeddings, draw_prompts(random, kind, truth, carried))
                iou, dice = overlaps(logits, truth)
                totals.setdefault(kind, []).append(dice[exists, 0])
                totals.setdefault("iou error", []).append((predicted[exists, 0].clamp(0, 1) - iou[exists, 0]).abs())
                if kind.startswith("carried"):
                    judged.append((predicted[exists, 0], iou[exists, 0]))
            others = embeddings[images.neighbour]
            totals.setdefault("likeness loss", []).append(likeness_loss(embeddings, others, targets.shown, truth).view(1))
            neighbour, warped = whole_neighbour(random, targets.known, images.field)
            totals.setdefault("neighbour", []).append(overlaps(decode(sam, embeddings, neighbour)[0], truth)[1][exists, 0])
        totals.setdefault("carried", []).append(overlaps(carried - 0.5, truth)[1][exists, 0])
        totals.setdefault("warped", []).append(overlaps(warped - 0.5, truth)[1][exists, 0])
    sam.train()
    figures = {key: round(float(torch.cat(values).mean()), 4) for key, values in totals.items()}
    if judged:
        predicted, true = (torch.cat(part).cpu().numpy() for part in zip(*judged))
        figures["iou rank, carried"] = round(float(spearmanr(predicted, true).statistic), 4)
    return figures


def whole_neighbour(random: Random, known: torch.Tensor, field: torch.Tensor) -> tuple[Prompts, torch.Tensor]:
    """The prompts of the kind that protocol ``prompts`` calls ``neighbour``, and the carried mask (B, 1, m, m) itself."""
    carried = warp(known, field).clamp(0, 1)
    return Prompts(boxes=draw_boxes(random, carried, True, EXACT), mask_logits=10 * (2 * carried - 1)), carried


def normalise(sam: torch.nn.Module, frames: torch.Tensor) -> torch.Tensor:
    """Frames in 0..1 as the encoder sees them."""
    return (frames * 255 - sam.pixel_mean) / sam.pixel_std


def train(rank: int, options: argparse.Namespace) -> None:
    """Train until the schedule ends, as worker ``rank`` of ``options.workers``."""
    folder, device = options.folder, options.device
    torch.set_flush_denormal(True)
    torch.backends.cudnn.benchmark = True
    if options.workers > 1:
        torch.set_num_threads(1)
        os.setsid()  # Linux shares the processor by session: two workers should count as two
        address = f"tcp://127.0.0.1:{options.port}"
        dist.init_process_group("gloo", init_method=address, rank=rank, world_size=options.workers)
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    config = TinyConfig(version=options.version)
    sam = build_tiny(config) if options.start is None else grow_tiny(options.start, config)
    sam = sam.to(device).to(memory_format=torch.channels_last)
    embed_points_without_waiting(sam)
    checked = build_tiny(config).to(device).to(memory_format=torch.channels_last)
    warper = load_warp(options.warp).to(device).requires_grad_(False)
    warper.config = replace(warper.config, passes=3)  # cheaper, and its errors are a little larger
    average = Average(sam, 0.997)
    fused = torch.device(device).type == "cuda"
    if options.frozen_encoder:
        sam.image_encoder.requires_grad_(False).eval()
    learned = [parameter for parameter in sam.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(learned, options.rate, betas=(0.9, 0.98), weight_decay=0.02, fused=fused)
    step, seen, start = 0, 0, time.time()
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True, map_location=device)
        sam.load_state_dict(state["model"])
        average.load(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        step, seen, start = state["step"], state["seen"], time.time() - state["spent"]
    kinds, shares = list(KINDS), list(KINDS.values())
    replay = Replay(options.fresh)
    first = step * 64 * options.workers + rank  # never a group that was drawn before
    source = Source(options.seed, first, options.workers, warper, options.volumes, device)
    last = math.inf if options.steps is None else step + options.steps
    running: list[torch.Tensor] = []
    checked_at = time.time()
    check = lambda: _check(options, sam, checked, average, optimiser, step, start, warper, config, seen)
    if rank == 0 and step == 0 and options.start is not None:
        check()
    while step < last and (share := _agree((time.time() - start) / 60 / options.minutes, options.workers)) < 1:
        random = Random((options.seed * 1_000_003 + step) * options.workers + rank, device)
        rate = options.rate * min(1, (step + 1) / 150) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))
        for group in optimiser.param_groups:
            group["lr"] = rate
        coarse = share < options.coarse
        set_frame(sam, 128 if coarse else 256)
        images = replay.draw(random, source.next, options.groups * (2 if coarse else 1))
        seen += len(images.frames) * options.workers
        frames = F.avg_pool2d(images.frames, 2) if coarse else images.frames
        loss = torch.zeros((), device=device)
        with fast_precision(torch.device(device)):
            embeddings = sam.image_encoder(normalise(sam, frames))
            if not options.frozen_encoder:
                no_mask = sam.prompt_encoder.no_mask_embed.weight.view(1, -1, 1, 1)
                features = sam.mask_decoder.output_upscaling(embeddings + no_mask).float()
            for _ in range(options.sets):
                targets = draw_targets(random, images)
                truth, others = targets.mask, embeddings[images.neighbour]
                kind = random.choice(kinds, shares)
                with torch.no_grad():
                    score = likeness(embeddings, others, targets.shown, truth.shape[-1])
                prompts = draw_prompts(random, kind, truth, targets.carried, score)
                if coarse:
                    prompts, truth = halve(prompts), (F.avg_pool2d(truth, 2) > 0.5).float()
                logits, predicted = decode(sam, embeddings, prompts)
                loss = loss + prompt_loss(logits, predicted, truth, kind)
                if not options.frozen_encoder:
                    loss = loss + 0.5 * prototype_loss(features, truth)
                    loss = loss + 0.5 * likeness_loss(embeddings, others, targets.shown, truth)
                if random.happens(0.3):
                    again, predicted = decode(sam, embeddings, second_round(random, prompts, logits))
                    loss = loss + prompt_loss(again, predicted, truth, "second")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        _average_gradients(sam, options.workers)
        torch.nn.utils.clip_grad_norm_(sam.parameters(), 1.0)
        optimiser.step()
        average.update(sam)
        step += 1
        running.append(loss.detach())
        if rank > 0:
            continue
        if step % 50 == 0:
            if not torch.stack(running).isfinite().all():
                raise FloatingPointError(f"the loss is no longer finite at step {step}; resume with a lower --rate")
            minutes = round((time.time() - start) / 60, 2)
            mean = round(float(torch.stack(running).mean()), 4)
            record = {"step": step, "images": seen, "minutes": minutes, "loss": mean, "rate": rate}
            write_log(folder / "log.jsonl", record)
            running.clear()
        if time.time() - checked_at > 60 * options.check:
            check()
            warper.load_state_dict(load_warp(options.warp).state_dict())
            checked_at = time.time()
    if rank == 0:
        check()


def _agree(value: float, workers: int) -> float:
    """The first worker's value, for all."""
    if workers == 1:
        return value
    shared = torch.tensor([value], dtype=torch.float64)
    dist.broadcast(shared, 0)
    return float(shared)


def _average_gradients(module: torch.nn.Module, workers: int) -> None:
    if workers == 1:
        return
    parameters = [p for p in module.parameters() if p.requires_grad]
    flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters])
    dist.all_reduce(flat)
    for parameter, part in zip(parameters, (flat / workers).split([p.numel() for p in parameters])):
        parameter.grad = part.view_as(parameter)


def _check(options, sam, checked, average, optimiser, step, start, warper, config, seen) -> None:
    """Store the state, measure the averaged weights on the fixed generated set, export them, draw the curve."""
    folder = options.folder
    state = {"model": sam.state_dict(), "average": average.state, "optimiser": optimiser.state_dict()}
    torch.save({**state, "step": step, "seen": seen, "spent": time.time() - start}, folder / "checkpoint.pt")
    checked.load_state_dict(average.state)
    figures = validate(checked, warper, options.device, options.validation)
    minutes = round((time.time() - start) / 60, 2)
    write_log(folder / "log.jsonl", {"step": step, "images": seen, "minutes": minutes, "validation": figures})
    save_half(average.state, folder / "tiny.safetensors", tiny_metadata(config))
    draw_curve(folder / "log.jsonl", folder / "curve.png")


def read_options(words: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--warp", type=Path, required=True, help="weights of the warping network")
    parser.add_argument("--start", type=Path, help="weights to go on from, with a schedule of its own")
    parser.add_argument("--minutes", type=float, default=85, help="length of the whole schedule")
    parser.add_argument("--validation", type=int, default=8, help="validation batches of 16 images")
    parser.add_argument("--check", type=float, default=6, help="minutes between checks")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--version", type=int, default=1, help="version written into the weights")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--groups", type=int, default=3, help="presets in a step")
    parser.add_argument("--volumes", type=int, default=1, help="volumes of each preset; two images each")
    parser.add_argument("--fresh", type=float, default=0.34, help="share of new images in a step; the rest is shown again")
    parser.add_argument("--sets", type=int, default=3, help="prompt sets per image")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each; 1 on a GPU")
    parser.add_argument("--port", type=int, default=29_517, help="where the workers meet")
    parser.add_argument("--coarse", type=float, default=0.35, help="share of the schedule at half resolution")
    parser.add_argument("--frozen-encoder", action="store_true", help="train prompt encoder and mask decoder only")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--steps", type=int, help="most steps of this run; the same command goes on from there")
    return parser.parse_args(words)


if __name__ == "__main__":
    arguments = read_options()
    if arguments.workers > 1:
        torch.multiprocessing.spawn(train, args=(arguments,), nprocs=arguments.workers)
    else:
        train(0, arguments)
