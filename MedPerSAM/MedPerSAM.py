"""The MedPerSAM module: life cycle, parameter node, observations. The panel is in MedPerSAMPanel, the flow in
MedPerSAMLib."""

import logging
import os
import sys

import ctk  # noqa: F401 - the .ui uses its widgets
import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

# From a source tree Slicer knows only this folder; an installed package has the library beside it.
_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
if os.path.isdir(os.path.join(_ROOT, "MedPerSAMLib")) and _ROOT not in sys.path:
    sys.path.insert(0, _ROOT)

from MedPerSAMPanel.panel import Panel

from MedPerSAMLib.mrml.dependencies import Dependencies
from MedPerSAMLib.mrml.medpersam_logic import MedPerSAMLogic as HeadlessLogic
from MedPerSAMLib.mrml.presenter import Presenter
from MedPerSAMLib.mrml.sample_data import register_samples
from MedPerSAMLib.mrml.segment_editor import editor_node, editor_widget, register_effect
from MedPerSAMLib.mrml.undo import EditorUndo, LogicUndo
from MedPerSAMLib.services.jobs import Jobs

TICK_MS = 30
"""How often news from the background are fetched."""

SETTLE_TICKS = 10
"""Ticks without a further edit after which the segments are looked at again, so that brush strokes stay smooth."""


class MedPerSAM(ScriptedLoadableModule):
    """The module as Slicer lists it."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = "MedPerSAM"
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["Segmentations", "SegmentEditor"]
        self.parent.contributors = ["MedPerSAM contributors"]
        self.parent.helpText = _(
            "Outline a structure on one slice in Segment Editor, open MedPerSAM, press Propagate: "
            "the structure is followed "
            "through the volume by a frozen SAM. Correct the least certain slice, propagate again, accept."
        )
        self.parent.acknowledgementText = _(
            "An independent implementation of the idea of Med-PerSAM (one-shot visual prompt tuning "
            "with a warping model)."
        )
        slicer.app.connect("startupCompleted()", self._on_startup)

    def _on_startup(self):
        """Register our effect and our samples with Slicer's modules; one that fails leaves the other alone."""
        folder = os.path.dirname(__file__)
        for register, path in (
            (register_effect, os.path.join(folder, "MedPerSAMEffects", "SegmentEditorMedPerSAMEffect.py")),
            (register_samples, os.path.join(folder, "Resources", "Icons")),
        ):
            try:
                register(path)
            except Exception:  # Slicer's modules raise what they like; the log has it, with its traceback
                log = logging.getLogger("MedPerSAM")
                log.exception("MedPerSAM could not register %s with Slicer; restart Slicer.", path)


@parameterNodeWrapper
class MedPerSAMParameterNode:
    """What the user chose; saved with the scene.

    The fields are those of ``choices.Parameters``.
    """

    volume: slicer.vtkMRMLScalarVolumeNode
    segmentation: slicer.vtkMRMLSegmentationNode
    segmentIDs: list[str]
    method: str = "med-persam"
    model: str = "tiny"
    device: str = "auto"
    target: str = "same segment"
    limitRange: bool = False
    firstSlice: int = 0
    lastSlice: int = 0
    keepFinished: bool = False
    learner: str = "autosam-cnn"


class MedPerSAMWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: copies the presenter's state onto widgets, and presses back."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.presenter = None
        self._parameters = None
        self._wrapped_node = None
        self._gui_tag = None
        self._observed = None
        self._quiet_ticks = None
        self.panel = None

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/MedPerSAM.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = MedPerSAMLogic(EditorUndo(editor_widget, LogicUndo()))
        jobs = Jobs(self.logic.sessions.make_smaller)
        self.presenter = Presenter(slicer.mrmlScene, self.logic, jobs, Dependencies(), editor=editor_node)
        self.panel = Panel(self.ui, self.presenter)
        self.timer = qt.QTimer()
        self.timer.setInterval(TICK_MS)
        self.timer.timeout.connect(self._tick)
        self.timer.start()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self._on_scene_start_close)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self._on_scene_end_close)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeRemovedEvent, self._on_segments)
        self._use_parameter_node()

    def enter(self):
        """Come back to the module: take what Segment Editor shows; nothing is installed or downloaded here."""
        self._use_parameter_node()
        self.presenter.fill_from_editor()

    def exit(self):
        """Leave the module; work goes on, and its news are still fetched."""

    def cleanup(self):
        """Module reload or quit: no half result stays in the scene, no thread stays behind."""
        if self.presenter is not None:
            self.timer.stop()
            self._set_parameter_node(None)
            # A step on a CPU may take seconds, and a thread that still runs while Python ends may crash it.
            self.presenter.close(timeout_s=10.0)
            self.presenter = None
        self.removeObservers()

    def onReload(self):
        """Reload the library along with this file."""
        self.cleanup()
        for name in [name for name in sys.modules if name.partition(".")[0] in ("MedPerSAMLib", "MedPerSAMPanel")]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    # Parameter node and observations

    def _use_parameter_node(self):
        node = self.logic.getParameterNode()
        if self._parameters is not None and node is self._wrapped_node:
            self.presenter.inputs_changed()  # wrapped and connected already
        else:
            self._wrapped_node = node
            self._set_parameter_node(MedPerSAMParameterNode(node))

    def _set_parameter_node(self, parameters):
        if self._parameters is not None:
            self._parameters.disconnectGui(self._gui_tag)
            self.removeObserver(self._parameters, vtk.vtkCommand.ModifiedEvent, self._on_parameters)
        self._parameters = parameters
        if parameters is not None:
            named = {w.property("SlicerParameterName"): w for w in vars(self.ui).values()}
            # Not connectGui, which gives no tag to disconnect by (Slicer issue 7547).
            self._gui_tag = parameters.connectParametersToGui({name: w for name, w in named.items() if name})
            self.addObserver(parameters, vtk.vtkCommand.ModifiedEvent, self._on_parameters)
            self.presenter.set_parameters(parameters)
        self.panel.set_parameters(parameters)
        self._watch_segmentation()

    def _on_parameters(self, *_event):
        self._watch_segmentation()
        self.presenter.inputs_changed()

    def _watch_segmentation(self):
        node = None if self._parameters is None else self._parameters.segmentation
        content = None if node is None else node.GetSegmentation()
        if content is self._observed:
            return
        events = (
            slicer.vtkSegmentation.SegmentAdded,
            slicer.vtkSegmentation.SegmentRemoved,
            slicer.vtkSegmentation.SegmentModified,
            slicer.vtkSegmentation.SourceRepresentationModified,
        )
        for event in events:
            if self._observed is not None:
                self.removeObserver(self._observed, event, self._on_segments)
            if content is not None:
                self.addObserver(content, event, self._on_segments)
        self._observed = content

    def _on_segments(self, *_event):
        self._quiet_ticks = 0

    def _on_scene_start_close(self, *_event):
        self._set_parameter_node(None)
        self.presenter.scene_closing()

    def _on_scene_end_close(self, *_event):
        self._use_parameter_node()

    def _tick(self):
        self.presenter.tick()
        if self._quiet_ticks is not None:
            self._quiet_ticks += 1
            if self._quiet_ticks >= SETTLE_TICKS:
                self._quiet_ticks = None
                self.presenter.inputs_changed()


class MedPerSAMLogic(ScriptedLoadableModuleLogic, HeadlessLogic):
    """Everything without a window: ``MedPerSAMLogic().process(volumeNode, segmentationNode, segmentIDs)``,
    ``.fit([(volumeNode, segmentationNode), ...])`` and ``.apply(profile, volumeNode, segmentationNode)``."""

    def __init__(self, undo=None):
        ScriptedLoadableModuleLogic.__init__(self)
        HeadlessLogic.__init__(self, undo=undo)


class MedPerSAMTest(ScriptedLoadableModuleTest):
    """The self test: about a minute on a CPU, no network. Run it by Reload and Test, or by ``ctest``.

    Nothing is installed by it: where packages are missing, the steps that need them are left out and named.
    """

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        from MedPerSAMLib.mrml import self_test, self_test_window

        parts = [(self_test, MedPerSAMLogic)]
        if slicer.util.mainWindow() is None:
            self.delayDisplay(_("Without a main window, panel, effect and Segment Editor's Undo are not tested."))
        else:
            parts.append((self_test_window, self_test_window.open_window))
        for part, prepare in parts:
            self._run(part.READING, prepare)
        missing = Dependencies().missing()
        if missing:
            self.delayDisplay(
                _("{names} missing, so nothing that computes was tested; press Propagate once and test again.").format(
                    names=", ".join(missing)
                )
            )
            return
        for part, prepare in parts:
            self._run(part.COMPUTING, prepare)
        self.delayDisplay(_("All steps passed."))

    def _run(self, steps, prepare):
        """Each step in an empty scene, with what ``prepare`` gives."""
        for step in steps:
            self.setUp()
            self.delayDisplay(step.__doc__.splitlines()[0])
            step(prepare())
