"""Where a result goes: the same segment, a new segment beside it, or a new segmentation."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import slicer
import vtk

from MedPerSAMLib.errors import InputError
from MedPerSAMLib.mrml.annotated_slices import Annotation
from MedPerSAMLib.mrml.segment_reader import segment_ids
from MedPerSAMLib.mrml.segment_writer import write_slice
from MedPerSAMLib.mrml.slice_record import forget
from MedPerSAMLib.mrml.turned_layer import TurnedLayer
from MedPerSAMLib.services.learning.profile import Label

SAME_SEGMENT, NEW_SEGMENT, NEW_SEGMENTATION = "same segment", "new segment", "new segmentation"
_SOURCE = "MedPerSAM.Source"
"""Tag of a new segment: the segment that was drawn, or that of the same name to which a profile was applied anew."""

TARGETS = (SAME_SEGMENT, NEW_SEGMENT, NEW_SEGMENTATION)
"""What the user may choose."""


@dataclass(frozen=True)
class Target:
    """The segment that receives a structure.

    Attributes:
        segmentation: its node.
        segment_id: its ID.
        made_segment: whether the segment was made for this run.
        made_node: whether the segmentation node was made for this run.
    """

    segmentation: slicer.vtkMRMLSegmentationNode
    segment_id: str
    made_segment: bool = False
    made_node: bool = False

    @property
    def exists(self) -> bool:
        """Whether the segment is in the scene."""
        content = self.segmentation.GetSegmentation()
        return self.segmentation.GetScene() is not None and content.GetSegment(self.segment_id) is not None

    def remove(self) -> None:
        """Remove what was made for this run; a node only with its last segment."""
        content, scene = self.segmentation.GetSegmentation(), self.segmentation.GetScene()
        if self.made_segment and content.GetSegment(self.segment_id) is not None:
            content.RemoveSegment(self.segment_id)
        if self.made_node and scene is not None and not content.GetNumberOfSegments():
            scene.RemoveNode(self.segmentation)


def make_targets(
    kind: str,
    segmentation: slicer.vtkMRMLSegmentationNode,
    annotations: dict[str, Annotation],
    volume: slicer.vtkMRMLScalarVolumeNode,
) -> dict[str, Target]:
    """A target per segment ID; new ones get the segment's looks and its annotated slices.

    Raises:
        InputError: ``kind`` is none of TARGETS.
    """
    if kind not in TARGETS:
        raise InputError(f"There is no target {kind!r}; use one of {', '.join(TARGETS)}.")
    if kind == SAME_SEGMENT:
        return {segment_id: Target(segmentation, segment_id) for segment_id in annotations}
    into = segmentation if kind == NEW_SEGMENT else _new_node(segmentation, volume)
    targets = {}
    for segment_id, annotation in annotations.items():
        source, content = segmentation.GetSegmentation().GetSegment(segment_id), into.GetSegmentation()
        new_id = content.AddEmptySegment(content.GenerateUniqueSegmentID(segment_id))
        copy = content.GetSegment(new_id)
        label = copy.GetLabelValue()
        copy.DeepCopyMetadata(source)
        copy.SetLabelValue(label)  # segments that share a layer are told apart by it
        forget(copy)
        copy.SetTag(_SOURCE, _source(source, segment_id))
        copy.SetName(source.GetName() if kind == NEW_SEGMENTATION else f"{source.GetName()} propagated")
        TurnedLayer.leave(into, new_id, volume)
        for index, mask in annotation.masks.items():
            write_slice(into, new_id, volume, annotation.axis, index, mask)
        targets[segment_id] = Target(into, new_id, True, kind == NEW_SEGMENTATION)
    return targets


def of_one_drawing(segmentation: slicer.vtkMRMLSegmentationNode, wanted: set[str]) -> set[str]:
    """IDs of the segments that share a drawing with those wanted, themselves included: a drawn segment and the new ones
    that received its results lie over each other on purpose."""
    content = segmentation.GetSegmentation()
    sources = {
        segment_id: _source(content.GetSegment(segment_id), segment_id) for segment_id in segment_ids(segmentation)
    }
    drawn = {sources.get(segment_id) for segment_id in wanted}
    return {segment_id for segment_id, source in sources.items() if source in drawn}


def _source(segment: slicer.vtkSegment, segment_id: str) -> str:
    source = vtk.reference("")
    return str(source) if segment.GetTag(_SOURCE, source) else segment_id


def targets_of_labels(
    kind: str,
    segmentation: slicer.vtkMRMLSegmentationNode | None,
    labels: Sequence[Label],
    volume: slicer.vtkMRMLScalarVolumeNode,
    places: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Target]:
    """A target per label's name: the segment of that name where ``kind`` allows it, else a new one in the label's
    colour; without a segmentation, in a new one.

    A new segment beside one of the same name is called "Liver applied", and "Liver applied 2" beside that. ``places`` gives
    the segments of an earlier application that go before those of the name: label's name -> segment ID.

    Raises:
        InputError: ``kind`` is none of TARGETS.
    """
    if kind not in TARGETS:
        raise InputError(f"There is no target {kind!r}; use one of {', '.join(TARGETS)}.")
    fresh = segmentation is None or kind == NEW_SEGMENTATION
    into = _new_node(volume, volume, "segmentation") if fresh else segmentation
    content, targets = into.GetSegmentation(), {}
    for label in labels:
        there = "" if fresh or kind == NEW_SEGMENT else content.GetSegmentIdBySegmentName(label.name)
        there = places.get(label.name, there)
        if there and content.GetSegment(there) is not None:
            targets[label.name] = Target(into, there)
            continue
        beside, name = content.GetSegmentIdBySegmentName(label.name), _unused(content, label.name)
        new_id = content.AddEmptySegment(content.GenerateUniqueSegmentID(label.name), name, label.colour)
        if beside:
            content.GetSegment(new_id).SetTag(_SOURCE, _source(content.GetSegment(beside), beside))
        targets[label.name] = Target(into, new_id, True, fresh)
    return targets


def _unused(content: slicer.vtkSegmentation, name: str) -> str:
    wanted = itertools.chain([name, f"{name} applied"], (f"{name} applied {number}" for number in itertools.count(2)))
    return next(other for other in wanted if not content.GetSegmentIdBySegmentName(other))


def _new_node(named_after, volume, suffix: str = "propagated") -> slicer.vtkMRMLSegmentationNode:
    scene = volume.GetScene()
    name = scene.GenerateUniqueName(f"{named_after.GetName()} {suffix}")
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    # Voxels are written relative to the volume, so the volume's transform keeps grid and image together.
    node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    return node
