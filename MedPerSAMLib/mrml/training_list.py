"""The finished cases of a scene that a fit learns from.

A case is remembered in its segmentation node: a reference to the volume, and its place in the list. So the list is saved
with the scene, and a case leaves it when one of its nodes is deleted.
"""

from __future__ import annotations

import slicer

from MedPerSAMLib.errors import InputError
from MedPerSAMLib.mrml.finished_case import TrainingPair, labels_of
from MedPerSAMLib.mrml.geometry import transform_between
from MedPerSAMLib.mrml.volume_reader import voxels

_VOLUME, _PLACE = "MedPerSAM.TrainingVolume", "MedPerSAM.TrainingPlace"


def paired_volume(segmentation: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLScalarVolumeNode | None:
    """The volume that the segmentation is a finished case of; None where it is in no list."""
    return segmentation.GetNodeReference(_VOLUME)


class TrainingList:
    """Adds, removes and lists cases.

    Args:
        scene: holds them.
    """

    def __init__(self, scene: slicer.vtkMRMLScene) -> None:
        self._scene = scene

    def pairs(self) -> list[TrainingPair]:
        """The cases, in the order they were added."""
        found = self._scene.GetNodesByClass("vtkMRMLSegmentationNode")
        found.UnRegister(None)
        placed = []
        for i in range(found.GetNumberOfItems()):
            node = found.GetItemAsObject(i)
            volume, place = paired_volume(node), node.GetAttribute(_PLACE)
            if volume is not None and place is not None and place.isdigit():
                placed.append((int(place), i, TrainingPair(volume, node)))
        return [pair for _, _, pair in sorted(placed, key=lambda entry: entry[:2])]

    def add(
        self, volume: slicer.vtkMRMLScalarVolumeNode | None, segmentation: slicer.vtkMRMLSegmentationNode | None
    ) -> None:
        """Add a case at the end.

        Raises:
            InputError: a node is missing or cannot be worked on, the segments differ in name from those of the other
                cases, or the case is there already.
        """
        if volume is None or segmentation is None:
            raise InputError("Choose volume and segmentation of the finished case at the top of the panel first.")
        voxels(volume)
        transform_between(segmentation, volume)
        names, pairs = {label.name for label in labels_of(segmentation)}, self.pairs()
        if any(pair.segmentation is segmentation and pair.volume is volume for pair in pairs):
            raise InputError(f"{volume.GetName()} with {segmentation.GetName()} is in the list already.")
        others = [pair for pair in pairs if pair.segmentation is not segmentation]
        for pair in others[:1]:
            wanted = {label.name for label in labels_of(pair.segmentation)}
            if names != wanted:
                raise InputError(
                    f"The segments of {segmentation.GetName()} are called {', '.join(sorted(names))}, those in the list "
                    f"{', '.join(sorted(wanted))}; give all cases the same names."
                )
        place = 1 + max((int(pair.segmentation.GetAttribute(_PLACE)) for pair in others), default=0)
        segmentation.SetNodeReferenceID(_VOLUME, volume.GetID())
        segmentation.SetAttribute(_PLACE, str(place))

    def remove(self, segmentation: slicer.vtkMRMLSegmentationNode) -> None:
        """Take a case out of the list; its nodes stay."""
        segmentation.RemoveNodeReferenceIDs(_VOLUME)
        segmentation.RemoveAttribute(_PLACE)
