"""A Slicer without an application: the scene, the logics and nodes to test on, from the ``slicer-core`` wheel.

What the desktop builds at start (scene, application logic, module logics) is built here by hand, once per process,
because the logics observe the scene and must outlive every test.
"""

from __future__ import annotations

import types

import numpy as np
import slicer
import vtk

_KEPT: dict[str, object] = {}
"""Everything that must not be garbage collected while the process lives."""


def start() -> slicer.vtkMRMLScene:
    """The scene of this process, with the module logics that MedPerSAM uses."""
    if "scene" in _KEPT:
        return _KEPT["scene"]
    scene = slicer.vtkMRMLScene()
    application = slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)
    colors = slicer.vtkMRMLColorLogic()
    colors.SetMRMLScene(scene)
    colors.AddDefaultColorNodes()
    application.SetModuleLogic("Colors", colors)
    logics = {}
    for name in (
        "Volumes",
        "Terminologies",
        "Segmentations",
        "SubjectHierarchy",
        "Sequences",
        "Markups",
        "Tables",
        "Plots",
    ):
        logic = getattr(slicer, f"vtkSlicer{name}Logic", None) or getattr(slicer, f"vtkSlicer{name}ModuleLogic")
        logics[name.lower()] = logic()
        logics[name.lower()].SetMRMLScene(scene)
        logics[name.lower()].SetMRMLApplicationLogic(application)
        application.SetModuleLogic(name, logics[name.lower()])
    slicer.mrmlScene = scene
    slicer.modules = types.SimpleNamespace(
        **{name: types.SimpleNamespace(logic=lambda logic=logic: logic) for name, logic in logics.items()}
    )
    _KEPT.update(scene=scene, application=application, colors=colors, logics=logics)
    return scene


def application_logic() -> slicer.vtkSlicerApplicationLogic:
    """The application logic that :func:`start` made."""
    start()
    return _KEPT["application"]


def clear() -> slicer.vtkMRMLScene:
    """The scene without any node of an earlier test."""
    scene = start()
    scene.Clear(0)
    return scene


def volume_node(
    array: np.ndarray,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    rotation_degrees: tuple[float, float, float] = (0.0, 0.0, 0.0),
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
    name: str = "CT",
) -> slicer.vtkMRMLScalarVolumeNode:
    """A volume node of an (k, j, i) array; ``spacing`` and ``origin`` in mm along i, j, k and R, A, S."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, array)
    turn = vtk.vtkTransform()
    for axis, degrees in zip("XYZ", rotation_degrees):
        getattr(turn, f"Rotate{axis}")(degrees)
    turn.Scale(*spacing)
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(turn.GetMatrix())
    for row in range(3):
        matrix.SetElement(row, 3, origin[row])
    node.SetIJKToRASMatrix(matrix)
    node.CreateDefaultDisplayNodes()
    return node


def segmentation_node(volume: slicer.vtkMRMLScalarVolumeNode | None, *names: str) -> slicer.vtkMRMLSegmentationNode:
    """A segmentation with an empty segment per name (IDs are the names), in the volume's geometry if one is given."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Segmentation")
    node.CreateDefaultDisplayNodes()
    if volume is not None:
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for name in names:
        node.GetSegmentation().AddEmptySegment(name, name)
    return node


def linear_transform(shift_mm: tuple[float, float, float] = (0, 0, 0), degrees: float = 0.0):
    """A transform node that shifts (R, A, S) and turns about S."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Registration")
    move = vtk.vtkTransform()
    move.Translate(*shift_mm)
    move.RotateZ(degrees)
    node.SetMatrixTransformToParent(move.GetMatrix())
    return node


def paint(segmentation, segment_id: str, volume, array: np.ndarray) -> None:
    """Give a segment the (k, j, i) mask on the volume's grid as an editor would, without using the code under test.

    The volume's own geometry is used, so volume and segmentation must share their parent transform here.
    """
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(array.shape[::-1])
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    scalars = vtk.util.numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
    scalars[:] = np.asarray(array, np.uint8).ravel()
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    image.SetGeometryFromImageToWorldMatrix(matrix)
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    if not logic.SetBinaryLabelmapToSegment(image, segmentation, segment_id, logic.MODE_REPLACE, image.GetExtent()):
        raise RuntimeError(f"Segment {segment_id} could not be painted.")
