"""Several propagated structures in one label map."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from MedPerSAMLib.core.task import Propagation, Reference
from MedPerSAMLib.errors import InputError

_ANNOTATED = 2.0
"""Certainty of an annotation; a confidence is at most 1."""


def combine(propagations: Mapping[int, Propagation], references: Mapping[int, Reference]) -> list[np.ndarray]:
    """Label maps of all structures: one, or several where annotations overlap.

    Annotated slices stay exactly as annotated. Elsewhere two structures of one label map may claim a voxel; it goes to

    1. the structure that is annotated on that slice, else
    2. the structure whose result on that slice has the higher confidence, else
    3. the structure that comes first.

    Structures whose annotations overlap were drawn that way, so they are put in different label maps and may overlap
    everywhere.

    Args:
        propagations: label value -> the structure in the volume, all of one shape.
        references: label value -> its annotated slices.

    Returns:
        Label maps (slices, rows, columns) uint8, or a larger unsigned type for larger values; see :func:`layers_of`
        for which holds what.
    """
    layer_of = layers_of(references)
    shape = next(iter(propagations.values())).mask.shape
    kind = np.min_scalar_type(max(propagations))
    maps = [np.zeros(shape, kind) for _ in range(max(layer_of.values()) + 1)]
    for k in range(shape[0]):
        certainty = [np.full(shape[1:], -1, np.float32) for _ in maps]
        for value, propagation in propagations.items():
            annotated = references[value].masks.get(k)
            if annotated is None:
                mask, sure = propagation.mask[k], np.nan_to_num(propagation.confidence[k])
            else:
                mask, sure = annotated, _ANNOTATED
            layer = layer_of[value]
            won = mask & (sure > certainty[layer])
            maps[layer][k][won] = value
            certainty[layer][won] = sure
    return maps


def as_combined(
    propagations: Mapping[int, Propagation], references: Mapping[int, Reference], maps: list[np.ndarray]
) -> dict[int, Propagation]:
    """Each structure as the label maps of :func:`combine` hold it, so that reports and pictures show what is written."""
    layer_of = layers_of(references)
    combined = {}
    for value, propagation in propagations.items():
        mask = maps[layer_of[value]] == value
        combined[value] = dataclasses.replace(propagation, mask=mask, present=mask.any(axis=(1, 2)))
    return combined


def layers_of(references: Mapping[int, Reference]) -> dict[int, int]:
    """Label value -> number of the label map that holds it: the first one where it overlaps no other annotation."""
    layer_of: dict[int, int] = {}
    for value, reference in references.items():
        taken = {layer_of[other] for other in layer_of if _overlap(reference, references[other]) is not None}
        layer_of[value] = next(layer for layer in range(len(references)) if layer not in taken)
    return layer_of


def check_disjoint(references: Mapping[int, Reference]) -> None:
    """Raise InputError where two structures share an annotated voxel."""
    values = list(references)
    for position, value in enumerate(values):
        for other in values[:position]:
            index = _overlap(references[value], references[other])
            if index is not None:
                raise InputError(
                    f"{references[other].name} and {references[value].name} overlap on the annotated slice {index}, which "
                    "a label map cannot hold; write to a .seg.nrrd or separate them."
                )


def _overlap(first: Reference, second: Reference) -> int | None:
    """An annotated slice on which both have a voxel, or None."""
    for index in first.masks.keys() & second.masks.keys():
        if (first.masks[index] & second.masks[index]).any():
            return index
    return None
