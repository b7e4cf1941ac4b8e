"""A training curve as Slicer's own table and plot."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from MedPerSAMLib.core.learn.fitted import CurvePoint

_ROLE = "MedPerSAM.TrainingCurve"
STEP, DICE, LOSS = "Step", "Validation Dice", "Loss"
"""Columns of the table."""

_SERIES = ((DICE, (0.17, 0.63, 0.17)), (LOSS, (0.84, 0.15, 0.16)))


class CurveNodes:
    """The table, two series and the chart of the latest training, made when first needed.

    Args:
        scene: holds them.
    """

    def __init__(self, scene: slicer.vtkMRMLScene) -> None:
        self._scene = scene

    def show(self, curve: Sequence[CurvePoint]) -> None:
        """Put a training curve into the table."""
        table, chart = self._node("vtkMRMLTableNode", "table", "MedPerSAM training"), self.chart()
        content = vtk.vtkTable()
        for name, values in (
            (STEP, np.array([point.step for point in curve], np.int32)),
            (DICE, np.round([float(point.dice) for point in curve], 3).astype(np.float64)),
            (LOSS, np.round([float(point.loss) for point in curve], 4).astype(np.float64)),
        ):
            column = numpy_support.numpy_to_vtk(values, deep=True)
            column.SetName(name)
            content.AddColumn(column)
        table.SetAndObserveTable(content)
        table.SetUseColumnTitleAsColumnHeader(True)
        table.SetLocked(True)
        for column, colour in _SERIES:
            series = self._node("vtkMRMLPlotSeriesNode", column, column)
            series.SetAndObserveTableNodeID(table.GetID())
            series.SetPlotType(series.PlotTypeScatter)
            series.SetXColumnName(STEP)
            series.SetYColumnName(column)
            series.SetColor(*colour)
            if not chart.HasPlotSeriesNodeID(series.GetID()):
                chart.AddAndObservePlotSeriesNodeID(series.GetID())

    def chart(self) -> slicer.vtkMRMLPlotChartNode:
        """The chart."""
        chart = self._node("vtkMRMLPlotChartNode", "chart", "MedPerSAM training curve")
        chart.SetTitle(chart.GetName())
        chart.SetXAxisTitle("training steps")
        chart.SetYAxisTitle("Dice, loss")
        return chart

    def _node(self, kind: str, role: str, name: str):
        nodes = self._scene.GetNodesByClass(kind)
        nodes.UnRegister(None)
        for i in range(nodes.GetNumberOfItems()):
            if nodes.GetItemAsObject(i).GetAttribute(_ROLE) == role:
                return nodes.GetItemAsObject(i)
        node = self._scene.AddNewNodeByClass(kind, name)
        node.SetAttribute(_ROLE, role)
        return node
