"""The points that a profile prompted SAM with, as markups that the user can move.

One fiducial node per structure. Points inside the structure are "selected" and green, points outside it are not and red.
A point keeps the number of its slice in its description, so that a drag within a slice view cannot lose it to a
neighbouring slice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import slicer

from MedPerSAMLib.mrml.geometry import volume_to_world

if TYPE_CHECKING:
    from MedPerSAMLib.mrml.applied_run import AppliedRun, Points

_OF = "MedPerSAM.PointsOf"
_INSIDE, _OUTSIDE = (0.1, 0.8, 0.1), (0.9, 0.1, 0.1)
_MOVED = 0.02
"""Pixels: less is rounding."""


class AppliedPoints:
    """Shows points and tells which were moved.

    Args:
        scene: holds the nodes.
    """

    def __init__(self, scene: slicer.vtkMRMLScene) -> None:
        self._scene = scene
        self._nodes: dict[int, str] = {}
        self._volume_id = ""
        self._axis = 0
        self._shown: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
        self._moved: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}

    @property
    def there(self) -> bool:
        """Whether points are shown."""
        return any(self._scene.GetNodeByID(node_id) is not None for node_id in self._nodes.values())

    def lie_on(self, volume: slicer.vtkMRMLVolumeNode | None) -> bool:
        """Whether the points are those of this volume."""
        return volume is not None and volume.GetID() == self._volume_id

    def show(self, run: AppliedRun, again: bool = False) -> None:
        """Show the points of a finished run instead of all others; ``again`` after points were moved."""
        moved = self._moved if again else {}
        self.remove()
        self._moved, self._volume_id, self._axis = moved, run.volume.GetID(), run.axis
        self._shown = {key: (np.array(p.places, float), np.array(p.labels, int)) for key, p in run.points.items()}
        to_world = volume_to_world(run.volume)
        for number, label in enumerate(run.profile.labels, start=1):
            mine = {index: shown for (n, index), shown in sorted(self._shown.items()) if n == number}
            if mine:
                self._nodes[number] = self._make(label.name, mine, to_world).GetID()

    def moved(self) -> Points:
        """(class, slice) -> its points, for every slice on which the user moved, added, removed or switched one since
        the profile was first applied; a slice whose points are all gone is prompted with the learned ones."""
        from MedPerSAMLib.core.learn.apply import SlicePoints

        volume = self._scene.GetNodeByID(self._volume_id)
        if volume is None:
            return {}
        from_world = np.linalg.inv(volume_to_world(volume))
        for number, node_id in self._nodes.items():
            node = self._scene.GetNodeByID(node_id)
            if node is None:
                continue
            for index, points in self._read(node, from_world).items():
                shown = self._shown.get((number, index))
                if shown is None or not _same(points, shown):
                    self._moved[number, index] = points
        return {key: SlicePoints(*points) for key, points in self._moved.items()}

    def remove(self) -> None:
        """Take all points out of the scene."""
        for node_id in self._nodes.values():
            node = self._scene.GetNodeByID(node_id)
            if node is not None:
                self._scene.RemoveNode(node)
        self.forget()

    def forget(self) -> None:
        """Drop what is remembered, as when the scene closes."""
        self._nodes, self._shown, self._moved, self._volume_id = {}, {}, {}, ""

    def _make(self, name: str, points, to_world: np.ndarray) -> slicer.vtkMRMLMarkupsFiducialNode:
        node = self._scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", f"{name} points")
        node.SetAttribute(_OF, name)
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        display.SetSelectedColor(*_INSIDE)
        display.SetColor(*_OUTSIDE)
        display.SetPointLabelsVisibility(False)
        display.SetVisibility3D(False)
        changing = node.StartModify()
        for index, (places, labels) in points.items():
            for place, label in zip(places, labels):
                at = node.AddControlPoint(*(to_world @ [*self._to_ijk(index, place), 1.0])[:3])
                node.SetNthControlPointSelected(at, bool(label))
                node.SetNthControlPointDescription(at, f"slice {index}")
                node.SetNthControlPointLabel(at, f"{name} {'inside' if label else 'outside'}")
        node.EndModify(changing)
        return node

    def _read(self, node, from_world: np.ndarray) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        places: dict[int, list] = {}
        labels: dict[int, list] = {}
        for at in range(node.GetNumberOfControlPoints()):
            kji = (from_world @ [*node.GetNthControlPointPositionWorld(at), 1.0])[2::-1]
            words = node.GetNthControlPointDescription(at).split()
            kept = len(words) == 2 and words[0] == "slice" and words[1].isdigit()
            index = int(words[1]) if kept else round(float(kji[self._axis]))
            places.setdefault(index, []).append([kji[other] + 0.5 for other in range(3) if other != self._axis])
            labels.setdefault(index, []).append(int(node.GetNthControlPointSelected(at)))
        return {index: (np.array(places[index]), np.array(labels[index])) for index in places}

    def _to_ijk(self, index: int, place: np.ndarray) -> list[float]:
        kji = [0.0, 0.0, 0.0]
        kji[self._axis] = float(index)
        for other, value in zip([a for a in range(3) if a != self._axis], place):
            kji[other] = float(value) - 0.5  # pixel centres lie at .5
        return kji[::-1]


def _same(one, other) -> bool:
    return (
        one[0].shape == other[0].shape
        and bool((np.abs(one[0] - other[0]) <= _MOVED).all())
        and np.array_equal(one[1], other[1])
    )
