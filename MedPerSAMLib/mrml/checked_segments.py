"""Which segments are checked: those drawn in the segmentation that is chosen, until the user checks others."""

from __future__ import annotations

import slicer

from MedPerSAMLib.errors import MedPerSAMError
from MedPerSAMLib.mrml.annotated_slices import find_annotation
from MedPerSAMLib.mrml.choices import Parameters
from MedPerSAMLib.mrml.segment_reader import segment_ids, stored_labels
from MedPerSAMLib.mrml.volume_reader import voxels

LOOK_VOXELS = 300_000_000
"""Voxels that may be read to find the drawn segments, less than a second; what is larger is a finished segmentation of
many organs, in which nothing is left to be checked by us."""

MOST_SLICES = 20
"""Annotated slices: a segment with more of them is finished, as those of a case to learn from."""


class CheckedSegments:
    """Keeps ``segmentIDs`` in step with the chosen segmentation; an empty choice stays empty if the user made it."""

    def __init__(self) -> None:
        self._node_id, self._chosen = "", []

    def tidy(self, parameters: Parameters | None) -> None:
        """Check the drawn segments of another segmentation, and drop segments that are gone."""
        if parameters is None or parameters.segmentation is None:
            self._node_id, self._chosen = "", []
            return
        node, chosen = parameters.segmentation, list(parameters.segmentIDs)
        there = segment_ids(node)
        checked = [segment_id for segment_id in chosen if segment_id in there]
        decided = True
        if node.GetID() != self._node_id and chosen in ([], self._chosen):  # chosen for another one, or for none
            decided = parameters.volume is not None
            checked = drawn_segments(node, parameters.volume) or checked
        if not checked and len(there) == 1 and (chosen or node.GetID() != self._node_id):
            checked = there
        self._node_id, self._chosen = node.GetID() if decided else "", checked
        if checked != chosen:
            parameters.segmentIDs = list(checked)


def drawn_segments(
    segmentation: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode | None
) -> list[str]:
    """IDs of the segments with a few annotated slices; none without a volume, or where looking would take too long."""
    content, drawn = segmentation.GetSegmentation(), []
    stored = [stored_labels(content.GetNthSegment(i)) for i in range(content.GetNumberOfSegments())]
    if volume is None or sum(labels.GetNumberOfPoints() for labels in stored if labels is not None) > LOOK_VOXELS:
        return drawn
    for segment_id in segment_ids(segmentation):
        try:
            voxels(volume)
            if len(find_annotation(segmentation, segment_id, volume).masks) <= MOST_SLICES:
                drawn.append(segment_id)
        except MedPerSAMError:  # the line of what was found tells why, as soon as the user checks it
            continue
    return drawn
