"""Report how the embedded weights do on real labelled slices; for looking only, nothing is chosen by it.

    python -m Testing.training.real /path/to/data --volumes 2

Prompts from the truth on frames zoomed so that the true box spans 1/2.2 of them: the model alone, few slices per label.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from MedPerSAMLib.core.frame import Frame, mask_extent, zoom_side_mm
from MedPerSAMLib.core.sam.predictor import Predictor, Prompts
from MedPerSAMLib.core.sam.tiny import load_tiny
from MedPerSAMLib.core.warp.network import load_warp, warp
from MedPerSAMLib.weights import weights_path
from Testing.training.fields import Random
from Testing.training.prompts import draw_boxes, draw_points

VOLUMES = ("chaos_t2", "sabs_ct", "la_mri", "acdc", "hippocampus")
PICTURES = ("cvc_polyp", "busi_us", "ph2_skin", "hc18_us", "jsrt_cxr", "wbc")
SHARE = 1 / 2.2
MASK = 128


def slices_of(case: Path, per_label: int) -> list[tuple[np.ndarray, ...]]:
    """(label, image, neighbour image, mask, neighbour mask, spacing) of evenly spaced slices of each label."""
    image = sitk.ReadImage(str(next(case.glob("image*"))))
    truth = sitk.GetArrayFromImage(sitk.ReadImage(str(next(case.glob("label*")))))
    array = sitk.GetArrayFromImage(image).astype(np.float32)
    if truth.ndim == 2 or image.GetDimension() == 2:
        truth = truth if truth.ndim == 2 else truth[..., 0]
        picture = (array if array.ndim == 3 else array[..., None])[..., :3] / 255
        return [(v, picture, picture, truth == v, truth == v, (1.0, 1.0)) for v in np.unique(truth)[1:]]
    low, high = np.percentile(array, [0.5, 99.5])
    array = np.clip((array - low) / (high - low), 0, 1)[..., None]
    spacing = image.GetSpacing()[1::-1]
    found = []
    for value in np.unique(truth)[1:]:
        area = (truth == value).sum((1, 2))
        usable = [k for k in range(len(area) - 1) if area[k] >= 30 and area[k + 1] >= 30]
        for k in sorted({usable[int(i)] for i in np.linspace(0, len(usable) - 1, per_label)} if usable else ()):
            found.append((value, array[k], array[k + 1], truth[k] == value, truth[k + 1] == value, spacing))
    return found


def dice(first: np.ndarray, second: np.ndarray) -> float:
    """Dice of two bool masks."""
    return 2 * (first & second).sum() / max(1, first.sum() + second.sum())


@torch.no_grad()
def measure(predictor: Predictor, warper: torch.nn.Module, sample: tuple[np.ndarray, ...]) -> dict[str, float]:
    """Dice of one slice per prompt kind, and predicted and true IoU with the box."""
    _, image, other, truth, other_truth, spacing = sample
    centre, extent = mask_extent(truth)
    side = zoom_side_mm((extent[0] * spacing[0], extent[1] * spacing[1]), SHARE)
    frame = Frame.around(centre, side, spacing, predictor.frame_size)
    coarse = Frame.around(centre, side, spacing, MASK)
    tensor = lambda x: torch.from_numpy(np.ascontiguousarray(x)).float().movedim(-1, 0)[None]
    mask, other_mask = (coarse.sample(tensor(x[..., None].astype(np.float32))) for x in (truth, other_truth))
    field = warper(*(coarse.sample(tensor(x)).mean(1, keepdim=True) for x in (other, image)))
    carried = warp(other_mask, field)
    random = Random(1)
    boxes = draw_boxes(random, mask, grown=False)
    point, one = draw_points(random, mask, True)
    points, labels = draw_points(random, mask, False)
    logits = 8 * (2 * carried - 1)
    prompts = {
        "box": Prompts(boxes=boxes),
        "point": Prompts(point, one),
        "box+point": Prompts(points, labels, boxes),
        "neighbour": Prompts(boxes=draw_boxes(random, carried, grown=True), mask_logits=logits),
    }
    embeddings = predictor.encode(frame.sample(tensor(image)))
    restore = lambda x: frame.restore(x, truth.shape, -1.0)[0, 0].numpy() > 0
    result = {"copied": dice(restore(other_mask - 0.5), truth), "carried": dice(restore(carried - 0.5), truth)}
    for kind, prompt in prompts.items():
        decoded = predictor.decode(embeddings, prompt)
        result[kind] = dice(restore(decoded.logits), truth)
        if kind == "box":
            result["predicted iou"] = float(decoded.predicted_iou[0, 0])
    return result


def main() -> None:
    """Print one line per set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--tiny", type=Path, help="weights; the shipped ones by default")
    parser.add_argument("--warp", type=Path, help="weights; the shipped ones by default")
    parser.add_argument("--volumes", type=int, default=2)
    parser.add_argument("--slices", type=int, default=2)
    options = parser.parse_args()
    predictor = Predictor(load_tiny(options.tiny or weights_path("tiny")))
    warper = load_warp(options.warp or weights_path("warp"))
    for name in (*VOLUMES, *PICTURES):
        count = options.volumes if name in VOLUMES else 3 * options.volumes
        rows: dict[int, list[dict[str, float]]] = {}
        for case in sorted(p for p in (options.data / name).iterdir() if p.is_dir())[:count]:
            for sample in slices_of(case, options.slices):
                rows.setdefault(int(sample[0]), []).append(measure(predictor, warper, sample))
        flat = [row for group in rows.values() for row in group]
        means = {k: np.mean([np.mean([r[k] for r in group]) for group in rows.values()]) for k in flat[0]}
        iou = [r["box"] / (2 - r["box"]) for r in flat]
        ranks = [np.argsort(np.argsort(x)) for x in (iou, [r["predicted iou"] for r in flat])]
        means["spearman"] = np.corrcoef(*ranks)[0, 1]
        print(f"{name:12s} {len(flat):3d} " + "  ".join(f"{k} {v:.3f}" for k, v in means.items()), flush=True)


if __name__ == "__main__":
    main()
