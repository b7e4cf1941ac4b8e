"""The line under the inputs: what was found in the chosen segments, or what is missing."""

from __future__ import annotations

from dataclasses import dataclass

import slicer

from MedPerSAMLib.errors import InputError, MedPerSAMError, NothingDrawn
from MedPerSAMLib.mrml.annotated_slices import Annotation, find_annotation
from MedPerSAMLib.mrml.geometry import check_transforms
from MedPerSAMLib.mrml.segment_reader import made_for, segment_of
from MedPerSAMLib.mrml.views import axis_of_view
from MedPerSAMLib.mrml.volume_reader import voxels


@dataclass(frozen=True)
class Found:
    """What was found.

    Attributes:
        text: one line per segment.
        ready: whether every chosen segment can be propagated.
        axis: array axis of the first segment's slices; None if unknown.
        slice_count: slices across it.
        plane: what they are called.
        segment_ids: the segments that can be propagated.
    """

    text: str
    ready: bool = False
    axis: int | None = None
    slice_count: int = 0
    plane: str = ""
    segment_ids: tuple[str, ...] = ()


def look_at(parameters, scene: slicer.vtkMRMLScene) -> Found:
    """Look at the chosen segments; every problem becomes the sentence with its remedy.

    Args:
        parameters: what the user chose; see ``choices.Parameters``.
        scene: gives the slice view that breaks ties.
    """
    if parameters is None or parameters.volume is None:
        return Found("Choose the volume.")
    if parameters.segmentation is None:
        return Found("Choose a segmentation, or make one in Segment Editor and outline the structure on one slice.")
    segment_ids = list(parameters.segmentIDs)
    if not segment_ids:
        return Found("Check one or more segments; each keeps its own annotated slices.")
    lines, first, ready, drawn, nothing_drawn = [], None, True, [], {}
    for segment_id in segment_ids:
        try:
            voxels(parameters.volume)
            check_transforms(parameters.segmentation, parameters.volume)
            view = axis_of_view(scene, parameters.volume)
            annotation = find_annotation(parameters.segmentation, segment_id, parameters.volume, view)
            first = annotation if first is None else first
            name = segment_of(parameters.segmentation, segment_id).GetName()
            lines.append(" ".join([_line(name, annotation, parameters), *annotation.warnings]))
            drawn.append(segment_id)
        except NothingDrawn as error:
            nothing_drawn[len(lines)] = segment_of(parameters.segmentation, segment_id).GetName()
            lines.append(str(error))
        except MedPerSAMError as error:
            lines.append(str(error))
            ready = False
    if first is None:
        return Found("\n".join(lines))
    for place, name in nothing_drawn.items():
        lines[place] = f"{name}: no slice of it was drawn or corrected, so it stays as it is."
    other = made_for(parameters.segmentation)
    if other not in (None, parameters.volume):
        lines.append(
            f"{parameters.segmentation.GetName()} was made for {other.GetName()}; if {parameters.volume.GetName()} shows "
            "another patient, choose its own segmentation."
        )
    return Found("\n".join(lines), ready and bool(drawn), first.axis, first.count, first.plane, tuple(drawn))


def _line(name: str, annotation: Annotation, parameters) -> str:
    wanted = range(parameters.firstSlice, parameters.lastSlice + 1) if parameters.limitRange else None
    if wanted is not None and (not len(wanted) or min(wanted) < 0 or max(wanted) >= annotation.count):
        raise InputError(
            f"{name}: the range {parameters.firstSlice}-{parameters.lastSlice} does not lie in the slices "
            f"0-{annotation.count - 1}; move its ends."
        )
    slices = annotation.open_range(wanted)
    low = slices.start if wanted is None else max(slices.start, wanted.start)
    high = slices.stop - 1 if wanted is None else min(slices.stop, wanted.stop) - 1
    drawn = sorted(annotation.masks)
    many = len(drawn) > 1
    words = f"{name}: annotated on {annotation.plane} slice{'s' * many} {_numbers(drawn)}; propagates to {low}-{high}"
    return words + (f" (you cleared {_numbers(sorted(annotation.cleared))})." if annotation.cleared else ".")


def _numbers(values: list[int]) -> str:
    if len(values) > 6:
        return f"{', '.join(map(str, values[:4]))} and {len(values) - 4} more"
    return " and ".join(filter(None, [", ".join(map(str, values[:-1])), str(values[-1])]))
