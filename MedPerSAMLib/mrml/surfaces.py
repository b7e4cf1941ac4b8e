"""The closed surface of a segmentation, out of the way while slices change."""

from __future__ import annotations

from collections.abc import Iterable

import slicer


def hide_surface(segmentation: slicer.vtkMRMLSegmentationNode) -> bool:
    """Drop the closed surface while slices change, because each change would remake it; whether there was one."""
    name = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    if not segmentation.GetSegmentation().ContainsRepresentation(name):
        return False
    segmentation.RemoveClosedSurfaceRepresentation()
    return True


def reveal(segmentation: slicer.vtkMRMLSegmentationNode) -> None:
    """Let 3D views show the segmentation, where it or its surface was switched off."""
    segmentation.CreateDefaultDisplayNodes()
    display = segmentation.GetDisplayNode()
    display.SetVisibility(True)
    display.SetVisibility3D(True)


def show_surfaces(segmentations: Iterable[slicer.vtkMRMLSegmentationNode]) -> None:
    """Make the closed surfaces once, at the end."""
    for segmentation in segmentations:
        if segmentation.GetScene() is not None:
            segmentation.CreateClosedSurfaceRepresentation()
