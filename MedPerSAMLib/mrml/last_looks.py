"""What was found in segments when they were last looked at, so that unchanged ones cost nothing to look at again.

The panel looks at all checked segments after every rest of the brush and before a run. VTK counts all modifications of
a process in one clock, so equal times of segment and labels mean equal contents.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import slicer

from MedPerSAMLib.errors import MedPerSAMError
from MedPerSAMLib.mrml.geometry import volume_to_world
from MedPerSAMLib.mrml.segment_reader import segment_of, stored_labels
from MedPerSAMLib.mrml.shared_grid import between_grids

MOST_LOOKS = 24
"""Looks that are kept: more than anyone checks at a time; each holds the slices that were drawn, nothing else."""


class _Problem(NamedTuple):
    """What a look raised; made anew each time, because an exception that is raised again keeps its old frames alive."""

    kind: type[MedPerSAMError]
    arguments: tuple


class LastLooks:
    """Outcomes by what was looked at; problems are outcomes, too."""

    def __init__(self) -> None:
        self._outcomes: OrderedDict[Hashable, Any] = OrderedDict()

    def at(self, key: Hashable, look: Callable[[], Any]) -> Any:
        """What ``look()`` gives or raises, asked again only for a key that is not known."""
        if key not in self._outcomes:
            try:
                self._outcomes[key] = look()
            except MedPerSAMError as error:
                self._outcomes[key] = _Problem(type(error), error.args)
            if len(self._outcomes) > MOST_LOOKS:
                self._outcomes.popitem(last=False)
        self._outcomes.move_to_end(key)
        outcome = self._outcomes[key]
        if isinstance(outcome, _Problem):
            raise outcome.kind(*outcome.arguments)
        return outcome


def state_of(
    segmentation: slicer.vtkMRMLSegmentationNode, segment_id: str, volume: slicer.vtkMRMLVolumeNode
) -> Hashable:
    """A key that changes with everything on which a look at a segment depends.

    Raises:
        InputError: no such segment, or a transform between the nodes is not linear.
    """
    segment = segment_of(segmentation, segment_id)
    labels = stored_labels(segment)
    content = None
    if labels is not None:
        grid = between_grids(labels, segmentation, volume).tobytes()
        content = labels.GetMTime(), labels.GetExtent(), segment.GetLabelValue(), grid
    place = volume_to_world(volume).tobytes(), volume.GetImageData().GetDimensions()
    return segmentation.GetID(), segment_id, segment.GetMTime(), content, volume.GetName(), place
