"""Write the embedded sample's files: ``python -m MedPerSAMLib.sample.write``, only after a change of the phantom."""

from __future__ import annotations

import numpy as np
import SimpleITK

from MedPerSAMLib.sample import REFERENCE_SLICE, SAMPLE_SEED, sample_paths
from MedPerSAMLib.sample.phantom import COLOURS, LABELS, Settings, make_phantom

ORIGIN = (-143.25, -119.25, -640.0)
"""Millimetres (left, posterior, superior) of the first voxel; off zero, so that a lost origin shows in tests."""


def write_sample() -> None:
    """Generate the phantom of ``SAMPLE_SEED`` and write its volume, reference and truth into the package."""
    image, labels = make_phantom(SAMPLE_SEED)
    reference = np.zeros_like(labels)
    reference[REFERENCE_SLICE] = labels[REFERENCE_SLICE]
    paths = sample_paths()
    for array, path in ((image, paths.volume), (labels, paths.truth)):
        SimpleITK.WriteImage(_on_grid(array), str(path), useCompression=True)
    segmentation = _on_grid(reference)
    for number, (value, name) in enumerate(LABELS.items()):
        colour = " ".join(f"{c:g}" for c in COLOURS[value])
        fields = {"ID": f"Segment_{value}", "Name": name, "Color": colour, "LabelValue": str(value), "Layer": "0"}
        for field, text in fields.items():
            segmentation.SetMetaData(f"Segment{number}_{field}", text)
    SimpleITK.WriteImage(segmentation, str(paths.reference), useCompression=True)


def _on_grid(array: np.ndarray) -> SimpleITK.Image:
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing(Settings().spacing[::-1])
    image.SetOrigin(ORIGIN)
    return image


if __name__ == "__main__":
    write_sample()
