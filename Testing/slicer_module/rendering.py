"""Slicer's own views without a window: a slice with its segments, and the segments as surfaces, into PNG files."""

from __future__ import annotations

import os
from pathlib import Path

# Read when VTK makes its first window: draw without an X server.
os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")

import numpy as np
import scene as slicer_scene
import slicer
import vtk
from vtk.util import numpy_support

_LOGICS: list = []
"""Slice logics observe the scene and are kept until the process ends."""


def slice_picture(
    volume, segmentation, path: Path, view_name: str = "Red", orientation: str = "Axial", point=None, size=(640, 480)
) -> vtk.vtkRenderWindow:
    """Render the slice through a world point (the volume's centre unless given) with the segmentation over it.

    Args:
        volume: in the background.
        segmentation: over it, with its display node's settings.
        path: of the PNG.
        view_name: of the slice view, which is made if it is not there.
        orientation: Axial, Coronal or Sagittal.
        point: world (R, A, S).
        size: (width, height) in pixels.

    Returns:
        The window, which shows later changes when it is rendered again.
    """
    scene, application = slicer_scene.start(), slicer_scene.application_logic()
    logic = slicer.vtkMRMLSliceLogic()
    logic.SetMRMLApplicationLogic(application)
    logic.SetMRMLScene(scene)
    _LOGICS.append(logic)
    view = logic.AddSliceNode(view_name)
    view.SetOrientation(orientation)
    logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
    view.SetDimensions(*size, 1)
    logic.FitSliceToAll(*size)
    if point is not None:
        view.JumpSliceByOffsetting(*point)
    logic.UpdatePipeline()

    renderer, window = _window(size)
    mapper = vtk.vtkImageMapper()
    mapper.SetInputConnection(logic.GetImageDataConnection())
    mapper.SetColorWindow(255)
    mapper.SetColorLevel(127.5)
    background = vtk.vtkActor2D()
    background.SetMapper(mapper)
    renderer.AddActor2D(background)
    _show_segments(slicer.vtkMRMLSegmentationsDisplayableManager2D(), application, renderer, view)
    _save(window, path)
    return window


def surface_picture(segmentation, path: Path, size=(640, 480), azimuth: float = 25.0) -> None:
    """Render the closed surfaces of a segmentation, seen from the front; they are made if they are not there."""
    scene, application = slicer_scene.start(), slicer_scene.application_logic()
    segmentation.CreateClosedSurfaceRepresentation()
    segmentation.GetDisplayNode().SetVisibility3D(True)
    view = scene.AddNewNodeByClass("vtkMRMLViewNode", "View1")
    renderer, window = _window(size)
    renderer.SetBackground(0.76, 0.80, 0.90)
    renderer.SetBackground2(0.45, 0.50, 0.70)
    renderer.GradientBackgroundOn()
    _show_segments(slicer.vtkMRMLSegmentationsDisplayableManager3D(), application, renderer, view)
    camera = renderer.GetActiveCamera()
    camera.SetPosition(0, 1, 0)
    camera.SetFocalPoint(0, 0, 0)
    camera.SetViewUp(0, 0, 1)
    camera.Azimuth(azimuth)
    camera.Elevation(15)
    renderer.ResetCamera()
    camera.Zoom(1.2)
    renderer.ResetCameraClippingRange()
    _save(window, path)
    scene.RemoveNode(view)


def pixels(window: vtk.vtkRenderWindow) -> np.ndarray:
    """(n, 3) uint8 colours of what the window shows now."""
    window.Render()
    grab = vtk.vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.ReadFrontBufferOff()
    grab.Update()
    return numpy_support.vtk_to_numpy(grab.GetOutput().GetPointData().GetScalars()).copy()


def _window(size) -> tuple[vtk.vtkRenderer, vtk.vtkRenderWindow]:
    renderer, window = vtk.vtkRenderer(), vtk.vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetSize(*size)
    window.AddRenderer(renderer)
    interactor = vtk.vtkGenericRenderWindowInteractor()
    interactor.SetRenderWindow(window)
    _LOGICS.append(interactor)
    return renderer, window


def _show_segments(manager, application, renderer, view) -> None:
    group = slicer.vtkMRMLDisplayableManagerGroup()
    group.SetRenderer(renderer)
    manager.SetMRMLApplicationLogic(application)
    group.AddDisplayableManager(manager)
    group.SetMRMLDisplayableNode(view)
    _LOGICS.append(group)


def _save(window: vtk.vtkRenderWindow, path: Path) -> None:
    window.Render()
    grab, writer = vtk.vtkWindowToImageFilter(), vtk.vtkPNGWriter()
    grab.SetInput(window)
    grab.ReadFrontBufferOff()
    writer.SetInputConnection(grab.GetOutputPort())
    writer.SetFileName(str(path))
    writer.Write()
