"""Learned parts by their method's name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from MedPerSAMLib.core.learn.heads import LinearHead
from MedPerSAMLib.core.learn.inputs import Inputs, inner_features_are_small
from MedPerSAMLib.core.learn.locator import Locator
from MedPerSAMLib.core.learn.losses import segmentation_loss
from MedPerSAMLib.core.learn.plain_head import PlainHead
from MedPerSAMLib.core.learn.point_makers import PointForms, PointQueries, PointTrunk
from MedPerSAMLib.core.learn.promise import Promise
from MedPerSAMLib.core.learn.unet import UNet
from MedPerSAMLib.core.learn.vit_head import VitHead
from MedPerSAMLib.core.sam.levels import level_widths
from MedPerSAMLib.core.sam.predictor import Predictor
from MedPerSAMLib.errors import InputError


def describe(predictor: Predictor | None) -> dict[str, Any]:
    """The sizes of a frozen SAM that parts are built by, as JSON values."""
    if predictor is None:
        return {}
    width, levels = predictor.sam.mask_decoder.iou_token.weight.shape[1], list(level_widths(predictor))
    return {"width": width, "levels": levels, "features": sum(levels) if inner_features_are_small(predictor) else width}


def build(method: str, predictor: Predictor | None, classes: int, sizes: Mapping[str, Any], seed: int) -> nn.Module:
    """The untrained part of a method, on the predictor's device; its random weights follow ``seed``.

    Args:
        method: name in ``learners.LEARNERS``.
        predictor: the frozen SAM; None for methods without one.
        classes: structures.
        sizes: what :func:`describe` gave.
        seed: of the weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        part = _build(method, predictor, classes, sizes)
    return part if predictor is None else part.to(predictor.device)


def load_weights(part: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Give a part the weights of a fit.

    Raises:
        InputError: they are those of a part of another shape.
    """
    try:
        part.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(
            "The profile was fitted by another version of MedPerSAM, whose learned part had another shape; fit again."
        ) from error


def build_locator(predictor: Predictor | None, seed: int) -> Locator:
    """The untrained locator, on the predictor's device; arguments as for :func:`build`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        locator = Locator()
    return locator if predictor is None else locator.to(predictor.device)


def loss_of(
    part: nn.Module, inputs: Inputs, labels: torch.Tensor, weights: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Training loss of a batch; a part with a loss of its own gives that, the others weigh the classes by ``weights``."""
    own = getattr(part, "loss", None)
    return segmentation_loss(part(inputs), labels, weights) if own is None else own(inputs, labels, generator)


def _build(method: str, predictor: Predictor | None, classes: int, sizes: Mapping[str, Any]) -> nn.Module:
    if method == "unet":
        return UNet(classes)
    width, levels = sizes["width"], sizes["levels"]
    if method == "autosam-cnn":
        return UNet(classes, sizes["features"])
    if method == "autosam-cnn-plain":
        return PlainHead(width, classes)
    if method == "autosam-linear":
        return LinearHead(sizes["features"], classes)
    if method == "autosam-vit":
        return VitHead(predictor.sam, classes)
    points = {"promise": PointForms, "promise-apm": PointTrunk, "promise-queries": PointQueries}.get(method)
    made = None if points is None else points(levels, width, classes)
    return Promise(predictor.sam, width, classes, made, shift=method in ("promise", "promise-ips"))
