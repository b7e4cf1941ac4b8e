"""The embedded sample: a generated abdomen with one annotated slice (:mod:`MedPerSAMLib.sample.phantom` makes it)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SAMPLE_SEED = 0
REFERENCE_SLICE = 21
"""The annotated slice: all five organs are on it."""


@dataclass(frozen=True)
class SamplePaths:
    """Files of the sample, all on one grid.

    Attributes:
        volume: the grey volume, NRRD.
        reference: the one annotated slice, ``.seg.nrrd`` with names and colours.
        truth: the whole volume's labels, NRRD with the reference's label values; for tests and measurements only.
    """

    volume: Path
    reference: Path
    truth: Path


def sample_paths() -> SamplePaths:
    """Where the sample's files lie in the installed package."""
    folder = Path(__file__).parent
    return SamplePaths(folder / "abdomen.nrrd", folder / "abdomen-reference.seg.nrrd", folder / "abdomen-truth.nrrd")
