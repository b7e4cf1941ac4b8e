"""Which refined masks may teach the warp, and whether a retrained warp did better (METHOD.md section 1, Retraining)."""

from __future__ import annotations

import numpy as np

from MedPerSAMLib.core.grid import WorkingGrid
from MedPerSAMLib.core.task import Propagation, Reference


def trusted_slices(
    result: Propagation, grid: WorkingGrid, reference: Reference, least: float
) -> dict[int, tuple[np.ndarray, float]]:
    """Slice -> its (working rows, columns) bool mask and the trust in it, for masks trusted at least ``least``.

    The trust is predicted IoU times the Dice of SAM's and the carried mask where SAM was asked, else the confidence.
    """
    trust = result.confidence
    if "predicted_iou" in result.details:
        trust = np.nan_to_num(result.details["predicted_iou"] * result.details["agreement"])
    return {
        int(index): (grid.mask_from_native(result.mask[index]), float(trust[index]))
        for index in np.flatnonzero(result.present & (trust >= least))
        if index not in reference.masks
    }


def mean_confidence(result: Propagation) -> float:
    """Mean confidence of the slices that hold the structure: the label-free score of a result."""
    return float(result.confidence[result.present].mean())
