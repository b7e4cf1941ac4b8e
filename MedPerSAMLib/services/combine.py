"""Several propagated structures of one volume: which of them a voxel belongs to, and their label maps.

Structures are followed one by one, so two may claim the same voxel. Where a chain has gone wrong it is far from its annotation, and it
mostly is a large structure that has leaked over a small one.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.core.task import Propagation, Reference
from MedPerSAMLib.errors import InputError

Key = TypeVar("Key", bound=Hashable)

_DOUBT = 0.25
"""Power of the kept part of a slice in its confidence [V: of 0.25, 0.5, 1 and 2 on chaos_t2, sabs_ct and acdc]."""


def exclusive(
    propagations: Mapping[Key, Propagation], references: Mapping[Key, Reference], progress: Progress | None = None
) -> dict[Key, Propagation]:
    """The structures without the voxels to which another one has a better claim [I].

    A voxel that several claim goes to the one that is annotated on its slice, else to the one for which the slices from its nearest
    annotated one (and one more), times its radius on this slice, are least; where these are equal, to the one that comes first. Asking
    how deep the voxel lies in each is a little better on four sets, but would take the rim of a small structure inside a large one.
    Structures whose annotations overlap were drawn that way, so they may overlap everywhere.

    Args:
        propagations: key -> the structure in the volume, all of one shape.
        references: key -> its annotated slices.
        progress: told of each slice that several claim a part of, if any is given.

    Raises:
        Cancelled: the user asked for it.

    Returns:
        The same keys. Where a structure has lost something, ``mask`` is a new array, ``present`` goes with it, and the slice is less
        certain.
    """
    progress = Progress() if progress is None else progress
    layer_of = layers_of({key: references[key] for key in propagations})
    masks = {key: propagation.mask for key, propagation in propagations.items()}
    for layer in set(layer_of.values()):
        members = [key for key in masks if layer_of[key] == layer]
        slices = np.flatnonzero(_claimed_twice([masks[key] for key in members])).tolist()
        for done, k in enumerate(slices):
            progress.step("sharing what several structures claim", done, len(slices))
            for key, lost in _lost({key: masks[key][k] for key in members}, references, k).items():
                if masks[key] is propagations[key].mask:
                    masks[key] = masks[key].copy()
                masks[key][k] &= ~lost
    return {key: one if masks[key] is one.mask else _narrowed(one, masks[key]) for key, one in propagations.items()}


def label_maps(propagations: Mapping[int, Propagation], references: Mapping[int, Reference]) -> list[np.ndarray]:
    """Label maps of all structures: one, or several where annotations overlap.

    Args:
        propagations: label value -> the structure, as :func:`exclusive` gives it.
        references: label value -> its annotated slices.

    Returns:
        Label maps (slices, rows, columns) uint8, or a larger unsigned type for larger values; see :func:`layers_of`
        for which holds what.
    """
    layer_of = layers_of(references)
    shape = next(iter(propagations.values())).mask.shape
    maps = [np.zeros(shape, np.min_scalar_type(max(propagations))) for _ in range(max(layer_of.values()) + 1)]
    for value, propagation in propagations.items():
        maps[layer_of[value]][propagation.mask] = value
    return maps


def layers_of(references: Mapping[Key, Reference]) -> dict[Key, int]:
    """Key -> number of the label map that holds the structure: the first one where it overlaps no other annotation."""
    layer_of: dict[Key, int] = {}
    for key, reference in references.items():
        taken = {layer_of[other] for other in layer_of if _overlap(reference, references[other]) is not None}
        layer_of[key] = next(layer for layer in range(len(references)) if layer not in taken)
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


def _narrowed(propagation: Propagation, mask: np.ndarray) -> Propagation:
    """A propagation with a mask that holds a part of its own."""
    before, after = (np.count_nonzero(one, axis=(1, 2)) for one in (propagation.mask, mask))
    kept = np.divide(after, before, out=np.ones(len(mask)), where=before > 0)
    confidence = (propagation.confidence * kept**_DOUBT).astype(np.float32)
    return dataclasses.replace(propagation, mask=mask, present=after > 0, confidence=confidence)


def _claimed_twice(masks: Sequence[np.ndarray]) -> np.ndarray:
    """(slices,) bool, slices with a voxel of several (slices, rows, columns) bool masks."""
    once, twice = np.zeros_like(masks[0]), np.zeros(len(masks[0]), bool)
    for mask in masks:
        twice |= (once & mask).any(axis=(1, 2))
        once |= mask
    return twice


def _lost(planes: Mapping[Key, np.ndarray], references: Mapping[Key, Reference], index: int) -> dict[Key, np.ndarray]:
    """Key -> (rows, columns) bool, what a structure loses of its mask on a slice; only structures that lose something."""
    claims = {key: _claim(plane, references[key], index) for key, plane in planes.items() if plane.any()}
    found, taken = {}, np.zeros(next(iter(planes.values())).shape, bool)
    for key in sorted(claims, key=lambda one: -claims[one]):
        lost = planes[key] & taken
        if lost.any():
            found[key] = lost
        taken |= planes[key]
    return found


def _claim(mask: np.ndarray, reference: Reference, index: int) -> float:
    """How good a structure's claim to a non-empty (rows, columns) mask on a slice is."""
    steps = min(abs(index - annotated) for annotated in reference.masks)
    return 1 / ((1 + steps) * math.sqrt(np.count_nonzero(mask))) if steps else math.inf


def _overlap(first: Reference, second: Reference) -> int | None:
    """An annotated slice on which both have a voxel, or None."""
    for index in first.masks.keys() & second.masks.keys():
        if (first.masks[index] & second.masks[index]).any():
            return index
    return None
