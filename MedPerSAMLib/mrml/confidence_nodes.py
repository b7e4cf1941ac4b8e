"""Confidence over slices as Slicer's own table and plot."""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from MedPerSAMLib.core.task import Propagation

_SEGMENT, _SEGMENTATION = "MedPerSAM.SegmentID", "MedPerSAM.Segmentation"
SLICE, CONFIDENCE, STATE = "Slice", "Confidence", "State"
"""Columns of the table."""


class ConfidenceNodes:
    """The table, series and chart of the segments of one segmentation, made when first needed.

    Args:
        segmentation: whose segments are shown.
    """

    def __init__(self, segmentation: slicer.vtkMRMLSegmentationNode) -> None:
        self._segmentation, self._scene = segmentation, segmentation.GetScene()

    def show(
        self, segment_id: str, propagation: Propagation, annotated: frozenset[int], plane: str
    ) -> slicer.vtkMRMLTableNode:
        """Put one structure's confidence into its table and into the chart.

        Args:
            segment_id: of the segment.
            propagation: its result.
            annotated: slices that the user drew.
            plane: what people call the slices.
        """
        segment = self._segmentation.GetSegmentation().GetSegment(segment_id)
        table = self._node("vtkMRMLTableNode", segment_id, f"{segment.GetName()} confidence")
        rows = np.flatnonzero(propagation.finished)
        _fill(table, rows, propagation, annotated)
        series = self._node("vtkMRMLPlotSeriesNode", segment_id, segment.GetName())
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetPlotType(series.PlotTypeScatter)
        series.SetXColumnName(SLICE)
        series.SetYColumnName(CONFIDENCE)
        series.SetColor(segment.GetColor())
        chart = self.chart(plane)
        if not chart.HasPlotSeriesNodeID(series.GetID()):
            chart.AddAndObservePlotSeriesNodeID(series.GetID())
        return table

    def chart(self, plane: str = "") -> slicer.vtkMRMLPlotChartNode:
        """The chart of all shown segments."""
        chart = self._node("vtkMRMLPlotChartNode", "", f"{self._segmentation.GetName()} confidence")
        chart.SetTitle(chart.GetName())
        if plane:
            chart.SetXAxisTitle(f"{plane} slice")
        chart.SetYAxisTitle("confidence")
        chart.SetYAxisRangeAuto(False)
        chart.SetYAxisRange(0, 1.02)
        return chart

    def table(self, segment_id: str) -> slicer.vtkMRMLTableNode | None:
        """The table of a segment, or None before it has a result."""
        return self._find("vtkMRMLTableNode", segment_id)

    def remove(self, segment_ids: list[str]) -> None:
        """Remove the tables and series of these segments, and the chart with the last of them."""
        for segment_id in segment_ids:
            for kind in ("vtkMRMLPlotSeriesNode", "vtkMRMLTableNode"):
                node = self._find(kind, segment_id)
                if node is not None:
                    self._scene.RemoveNode(node)
        chart = self._find("vtkMRMLPlotChartNode", "")
        if chart is not None and chart.GetNumberOfPlotSeriesNodes() == 0:
            self._scene.RemoveNode(chart)

    def _node(self, kind: str, segment_id: str, name: str):
        node = self._find(kind, segment_id)
        if node is None:
            node = self._scene.AddNewNodeByClass(kind, name)
            node.SetAttribute(_SEGMENT, segment_id)
            # A reference, which MRML corrects where the scene is added to another one that uses the same ID.
            node.SetNodeReferenceID(_SEGMENTATION, self._segmentation.GetID())
        return node

    def _find(self, kind: str, segment_id: str):
        nodes = self._scene.GetNodesByClass(kind)
        nodes.UnRegister(None)
        for i in range(nodes.GetNumberOfItems()):
            node = nodes.GetItemAsObject(i)
            if node.GetAttribute(_SEGMENT) == segment_id and node.GetNodeReference(_SEGMENTATION) is self._segmentation:
                return node
        return None


def uncertain_slices(propagation: Propagation, annotated: frozenset[int]) -> list[int]:
    """The slices that were propagated and hold the structure, the least certain one first."""
    candidates = np.flatnonzero(propagation.finished & propagation.present)
    open_ones = [int(index) for index in candidates if int(index) not in annotated]
    return sorted(open_ones, key=lambda index: (propagation.confidence[index], index))


def _fill(
    table: slicer.vtkMRMLTableNode, rows: np.ndarray, propagation: Propagation, annotated: frozenset[int]
) -> None:
    content = vtk.vtkTable()
    for name, values in (
        (SLICE, rows.astype(np.int32)),
        (CONFIDENCE, np.round(propagation.confidence[rows], 3).astype(np.float64)),
    ):
        column = numpy_support.numpy_to_vtk(values, deep=True)
        column.SetName(name)
        content.AddColumn(column)
    states = vtk.vtkStringArray()
    states.SetName(STATE)
    for index in rows:
        annotation = "annotated" if int(index) in annotated else None
        states.InsertNextValue(annotation or ("propagated" if propagation.present[index] else "not present"))
    content.AddColumn(states)
    table.SetAndObserveTable(content)
    table.SetUseColumnTitleAsColumnHeader(True)
    table.SetLocked(True)
