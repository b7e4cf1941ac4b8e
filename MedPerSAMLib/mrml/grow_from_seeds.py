"""Slicer's own Grow from seeds, seeded from the annotated slices: what a radiologist would use today.

The algorithm is ``vtkImageGrowCutSegment``, which Slicer's effect of that name runs (Zhu et al., "An effective
interactive medical image segmentation method using fast GrowCut", MICCAI workshop 2014). The effect looks only a few
slices beyond its seeds; here the growth has the whole range, and background seeds lie on the annotated slices only, since
those slices are all that this task gives. So it grows too far where intensities allow it: that is the honest baseline.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from MedPerSAMLib.core.methods.slicewise import (
    Collector,
    by_nearest_reference,
    distance_confidence,
    open_slices,
)
from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.core.session import VolumeSession
from MedPerSAMLib.core.task import Propagation, Reference, Volume
from MedPerSAMLib.errors import DependencyError

if TYPE_CHECKING:
    import vtk

_INSIDE, _OUTSIDE = 1, 2
"""Seed labels; 0 is no seed."""


@dataclass(frozen=True)
class GrowFromSeedsSettings:
    """How seeds are drawn and how the growth is weighed; lengths in units of r = sqrt(area / pi) of the mask.

    Attributes:
        margin: the seeds keep this far from the outline, and at least one pixel, as a careful hand would [I].
        locality: intensity difference, as part of the volume's 0.5..99.5 percentile span, that each millimetre of
            distance counts for; 0 is the effect's default "seed locality".
        reach: distance at which the confidence has fallen to 1/e.
    """

    margin: float = 0.1
    locality: float = 0.0
    reach: float = 1.0


class GrowFromSeeds:
    """GrowCut in three dimensions from the annotated slices; for volumes only."""

    summary = "Slicer's own Grow from seeds (GrowCut), seeded on the annotated slices; needs Slicer or slicer-core"
    needs_model = False

    def __init__(self, settings: GrowFromSeedsSettings | None = None) -> None:
        self.settings = GrowFromSeedsSettings() if settings is None else settings

    def propagate(
        self, session: VolumeSession, reference: Reference, progress: Progress, slices: range | None = None
    ) -> Propagation:
        """Grow through all slices between the first and the last of the range and the annotations, at once.

        Growing is one call into Slicer: a cancel is noticed before and after it.

        Raises:
            DependencyError: neither Slicer nor slicer-core is there.
            InputError: the reference or the range does not fit the volume.
            Cancelled: the user asked for it.
        """
        _require_slicer()
        volume = session.volume
        indices = open_slices(volume, reference, slices)
        involved = [*indices, *reference.masks]
        first, last = min(involved), max(involved)
        progress.step("growing", 0, len(indices))
        grown = grow(
            session.slices[first : last + 1],
            self._seeds(volume, reference)[first : last + 1],
            volume.spacing,
            self.settings.locality,
        )
        collector = Collector(volume, reference, progress, "growing", len(indices))
        for annotated, members in by_nearest_reference(indices, reference.masks).items():
            mask = reference.masks[annotated]
            for index in members:
                distance_mm = abs(index - annotated) * volume.spacing[0]
                confidence = distance_confidence(distance_mm, mask, session.in_plane_spacing, self.settings.reach)
                collector.add(index, grown[index - first], confidence)
        return collector.result()

    def _seeds(self, volume: Volume, reference: Reference) -> np.ndarray:
        """(slices, rows, columns) uint8 seeds, on annotated slices only."""
        seeds = np.zeros(volume.array.shape, np.uint8)
        for index, mask in reference.masks.items():
            seeds[index] = slice_seeds(np.asarray(mask, bool), self.settings.margin)
        return seeds


def slice_seeds(mask: np.ndarray, margin: float) -> np.ndarray:
    """Seeds of one annotated slice: well inside the outline and well outside it, nothing near it.

    Args:
        mask: (rows, columns) bool, not empty.
        margin: distance kept from the outline in units of r = sqrt(area / pi); at least one pixel is kept.

    Returns:
        (rows, columns) uint8: 1 inside, 2 outside, 0 where the growth decides. A mask too thin to keep the margin is
        seeded along its middle.
    """
    distance = max(1.0, margin * float(np.sqrt(mask.sum() / np.pi)))
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    inside = depth > distance if depth.max() > distance else depth == depth.max()
    outside = ndimage.distance_transform_edt(~mask) > distance
    return (_INSIDE * inside + _OUTSIDE * outside).astype(np.uint8)


def grow(
    intensities: np.ndarray, seeds: np.ndarray, spacing: tuple[float, float, float], locality: float
) -> np.ndarray:
    """What GrowCut gives to the inside seeds.

    Args:
        intensities: (slices, rows, columns) in 0..1.
        seeds: the same shape, uint8: 1 inside, 2 outside, 0 none.
        spacing: millimetres per step along (slices, rows, columns).
        locality: intensity difference that each millimetre counts for.

    Returns:
        (slices, rows, columns) bool.

    Raises:
        DependencyError: neither Slicer nor slicer-core is there.
    """
    filter_class = _require_slicer()
    from vtk.util.numpy_support import vtk_to_numpy

    # The filter neither grows from nor labels the outermost voxels of an image, so the volume gets a border of one.
    growth = filter_class()
    growth.SetIntensityVolume(_image(np.pad(intensities, 1, mode="edge").astype(np.float32), spacing))
    growth.SetSeedLabelVolume(_image(np.pad(seeds, 1).astype(np.uint8), spacing))
    growth.SetDistancePenalty(locality)
    growth.Update()
    labels = vtk_to_numpy(growth.GetOutput().GetPointData().GetScalars())
    padded = labels.reshape([length + 2 for length in seeds.shape])
    return padded[1:-1, 1:-1, 1:-1] == _INSIDE


def _image(array: np.ndarray, spacing: tuple[float, float, float]) -> vtk.vtkImageData:
    """A VTK image that owns a copy of the (slices, rows, columns) array."""
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    image = vtk.vtkImageData()
    image.SetDimensions(array.shape[::-1])
    image.SetSpacing(spacing[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(array.reshape(-1), deep=True))
    return image


def _require_slicer() -> type:
    """``vtkImageGrowCutSegment``, from Slicer or from the slicer-core package."""
    try:
        from slicer import vtkImageGrowCutSegment
    except ImportError as error:
        raise DependencyError(
            "Grow from seeds is Slicer's own and slicer-core is not installed; install it with "
            "'pip install slicer-core', run inside 3D Slicer, or choose another method."
        ) from error
    return vtkImageGrowCutSegment
