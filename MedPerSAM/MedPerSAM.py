"""The MedPerSAM module: binds Qt to the presenter in MedPerSAMLib, which knows no Qt.

Calls on widgets are written so that PythonQt and PySide6 both understand them: ``w.setX(v)``, ``w.property("x")``,
``w.signal.connect(f)``.
"""

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

from MedPerSAMLib.mrml.confidence_nodes import ConfidenceNodes  # noqa: E402 - found only now
from MedPerSAMLib.mrml.dependencies import Dependencies  # noqa: E402
from MedPerSAMLib.mrml.logic import PropagationLogic  # noqa: E402
from MedPerSAMLib.mrml.method_list import METHOD_ROWS  # noqa: E402
from MedPerSAMLib.mrml.presenter import Presenter  # noqa: E402
from MedPerSAMLib.mrml.sample_data import register_samples  # noqa: E402
from MedPerSAMLib.mrml.segment_editor import editor_node, editor_widget, register_effect  # noqa: E402
from MedPerSAMLib.mrml.targets import TARGETS  # noqa: E402
from MedPerSAMLib.mrml.undo import EditorUndo, LogicUndo  # noqa: E402
from MedPerSAMLib.services.jobs import Jobs  # noqa: E402

TICK_MS = 30
"""How often news from the background are fetched."""

SETTLE_TICKS = 10
"""Ticks without a further edit after which the segments are looked at again, so that brush strokes stay smooth."""

DEVICES = ("auto", "cpu", "cuda", "mps")


class MedPerSAM(ScriptedLoadableModule):
    """The module as Slicer lists it."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = "MedPerSAM"
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["Segmentations", "SegmentEditor"]
        self.parent.contributors = ["MedPerSAM contributors"]
        self.parent.helpText = _(
            "Outline a structure on one slice in Segment Editor, open MedPerSAM, press Propagate: the structure is followed "
            "through the volume by a frozen SAM. Correct the least certain slice, propagate again, accept."
        )
        self.parent.acknowledgementText = _(
            "An independent implementation of the idea of Med-PerSAM (one-shot visual prompt tuning with a warping model)."
        )
        slicer.app.connect("startupCompleted()", self._on_startup)

    def _on_startup(self):
        register_samples(os.path.join(os.path.dirname(__file__), "Resources", "Icons"))
        register_effect(os.path.join(os.path.dirname(__file__), "MedPerSAMEffects", "SegmentEditorMedPerSAMEffect.py"))


@parameterNodeWrapper
class MedPerSAMParameterNode:
    """What the user chose; saved with the scene.

    The fields are those of ``presenter.Parameters``.
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


class MedPerSAMWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: copies the presenter's state onto widgets, and presses back."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.presenter = None
        self._parameters = None
        self._gui_tag = None
        self._observed = None
        self._quiet_ticks = None
        self._listed = None

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/MedPerSAM.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = MedPerSAMLogic(EditorUndo(editor_widget, LogicUndo()))
        jobs = Jobs(self.logic.sessions.make_smaller)
        self.presenter = Presenter(slicer.mrmlScene, self.logic, jobs, Dependencies(), editor=editor_node)
        self._fill_choices()
        self._connect()
        self.timer = qt.QTimer()
        self.timer.setInterval(TICK_MS)
        self.timer.timeout.connect(self._tick)
        self.timer.start()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self._on_scene_start_close)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self._on_scene_end_close)
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
            self.presenter.close()
            self._set_parameter_node(None)
        self.removeObservers()

    def onReload(self):
        """Reload the library along with this file."""
        self.cleanup()
        self.presenter = None
        for name in [name for name in sys.modules if name.partition(".")[0] == "MedPerSAMLib"]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    # Choices

    def _fill_choices(self):
        for row in METHOD_ROWS:
            self.ui.methodCombo.addItem(row.title, row.name)
        for device in DEVICES:
            self.ui.deviceCombo.addItem(device, device)
        for target in TARGETS:
            self.ui.targetCombo.addItem(target.capitalize(), target)
        self._list_models()

    def _list_models(self):
        combo = self.ui.modelCombo
        combo.blockSignals(True)
        combo.clear()
        for row in self.presenter.models.rows:
            combo.addItem(row.text, row.name)
        combo.blockSignals(False)
        self._render()

    def _connect(self):
        ui, presenter, models = self.ui, self.presenter, self.presenter.models
        presenter.changed.connect(self._render)
        models.changed.connect(self._list_models)
        for button, action in (
            (ui.mainButton, presenter.press_main),
            (ui.fromHereButton, presenter.first_slice_here),
            (ui.toHereButton, presenter.last_slice_here),
            (ui.worstButton, presenter.go_to_worst),
            (ui.nextButton, presenter.go_to_next),
            (ui.previousButton, presenter.go_to_previous),
            (ui.acceptButton, presenter.accept),
            (ui.discardButton, presenter.discard),
            (ui.show3DButton, presenter.show_3d),
            (ui.plotButton, self._show_plot),
            (ui.downloadButton, lambda: models.download(self._parameters.model)),
            (ui.importButton, lambda: models.import_file(str(ui.importPath.property("currentPath")))),
            (ui.clearFolderButton, models.clear),
            (ui.openFolderButton, lambda: qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(models.folder))),
            (ui.copyLogButton, lambda: qt.QApplication.clipboard().setText("\n".join(presenter.state.log))),
        ):
            button.clicked.connect(lambda *_checked, action=action: action())
        for combo, name in self._combos():
            combo.currentIndexChanged.connect(lambda *_index, combo=combo, name=name: self._choose(combo, name))
        ui.segmentsList.itemChanged.connect(lambda *_item: self._choose_segments())

    def _combos(self):
        ui = self.ui
        return (
            (ui.methodCombo, "method"),
            (ui.modelCombo, "model"),
            (ui.deviceCombo, "device"),
            (ui.targetCombo, "target"),
        )

    def _choose(self, combo, name):
        if self._parameters is not None:
            setattr(self._parameters, name, combo.itemData(combo.property("currentIndex")))

    def _choose_segments(self):
        if self._parameters is not None:
            items = [self.ui.segmentsList.item(row) for row in range(self.ui.segmentsList.property("count"))]
            checked = [item.data(qt.Qt.UserRole) for item in items if item.checkState() == qt.Qt.Checked]
            self._parameters.segmentIDs = checked

    # Parameter node and observations

    def _use_parameter_node(self):
        self._set_parameter_node(MedPerSAMParameterNode(self.logic.getParameterNode()))

    def _set_parameter_node(self, parameters):
        if self._parameters is not None:
            self._parameters.disconnectGui(self._gui_tag)
            self.removeObserver(self._parameters, vtk.vtkCommand.ModifiedEvent, self._on_parameters)
        self._parameters = parameters
        if parameters is not None:
            self._gui_tag = parameters.connectGui(self.ui)
            self.addObserver(parameters, vtk.vtkCommand.ModifiedEvent, self._on_parameters)
            self.presenter.set_parameters(parameters)
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

    # Showing

    def _show_plot(self):
        segmentation = None if self._parameters is None else self._parameters.segmentation
        if segmentation is not None:
            slicer.modules.plots.logic().ShowChartInLayout(ConfidenceNodes(segmentation).chart())

    def _render(self):
        ui, state, parameters = self.ui, self.presenter.state, self._parameters
        ui.foundLabel.setText(state.found)
        ui.deviceLabel.setText(state.device)
        ui.dependenciesLabel.setText(state.dependencies)
        ui.mainButton.setText(_(state.button))
        ui.mainButton.setEnabled(state.button_enabled)
        ui.progressBar.setRange(0, 0 if state.progress is None else 100)
        ui.progressBar.setValue(0 if state.progress is None else int(state.progress))
        ui.statusLabel.setText(state.status)
        ui.resultLabel.setText(state.result)
        ui.positionLabel.setText(state.position)
        for button in (ui.worstButton, ui.nextButton, ui.previousButton):
            button.setEnabled(state.can_navigate)
        for button in (ui.acceptButton, ui.discardButton):
            button.setEnabled(state.can_decide)
        ui.show3DButton.setEnabled(state.can_show_3d and state.inputs_enabled)
        ui.plotButton.setEnabled(bool(self.presenter.results))
        ui.resultsSection.setProperty("collapsed", not (state.result or state.can_decide))
        for section in (ui.inputsSection, ui.methodSection):
            section.setEnabled(state.inputs_enabled)
        if ui.logText.property("plainText") != "\n".join(state.log):
            ui.logText.setPlainText("\n".join(state.log))
        if parameters is not None:
            self._render_choices(parameters)

    def _render_choices(self, parameters):
        ui = self.ui
        for combo, name in self._combos():
            index = combo.findData(getattr(parameters, name))
            if index >= 0 and index != combo.property("currentIndex"):
                combo.setCurrentIndex(index)
        row = self.presenter.models.row(parameters.model)
        ui.modelDetailsLabel.setText(" ".join(filter(None, [row.details, self.presenter.models.status])))
        ui.downloadButton.setEnabled(row.can_download)
        for widget in (ui.firstSliceSpin, ui.lastSliceSpin):
            widget.setEnabled(parameters.limitRange)
            widget.setMaximum(max(self.presenter.state.slice_count - 1, widget.property("value")))
        self._list_segments(parameters)
        table = self._table()
        if ui.confidenceTable.mrmlTableNode() is not table:
            ui.confidenceTable.setMRMLTableNode(table)

    def _list_segments(self, parameters):
        content = None if parameters.segmentation is None else parameters.segmentation.GetSegmentation()
        ids = [] if content is None else [content.GetNthSegmentID(i) for i in range(content.GetNumberOfSegments())]
        checked = [i for i in parameters.segmentIDs if i in ids]
        wanted = [(i, content.GetSegment(i).GetName(), i in checked) for i in ids]
        if wanted == self._listed:
            return
        self._listed = wanted
        self.ui.segmentsList.blockSignals(True)
        self.ui.segmentsList.clear()
        for segment_id, name, is_checked in wanted:
            item = qt.QListWidgetItem(name)
            item.setData(qt.Qt.UserRole, segment_id)
            item.setCheckState(qt.Qt.Checked if is_checked else qt.Qt.Unchecked)
            self.ui.segmentsList.addItem(item)
        self.ui.segmentsList.blockSignals(False)

    def _table(self):
        if self._parameters is None or self._parameters.segmentation is None or not self._parameters.segmentIDs:
            return None
        return ConfidenceNodes(self._parameters.segmentation).table(self._parameters.segmentIDs[0])


class MedPerSAMLogic(ScriptedLoadableModuleLogic, PropagationLogic):
    """Propagation without a window: ``MedPerSAMLogic().process(volumeNode, segmentationNode, segmentIDs)``."""

    def __init__(self, undo=None):
        ScriptedLoadableModuleLogic.__init__(self)
        PropagationLogic.__init__(self, undo=undo)

    def getParameterNode(self):
        """The node that the module's choices are saved in."""
        return ScriptedLoadableModuleLogic.getParameterNode(self)


class MedPerSAMTest(ScriptedLoadableModuleTest):
    """The self test: about a minute on a CPU, no network. Run it by Reload and Test, or by ``ctest``."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        from MedPerSAMLib.mrml.self_test import STEPS

        for step in STEPS:
            self.setUp()
            self.delayDisplay(step.__doc__.splitlines()[0])
            step(MedPerSAMLogic())
        self.delayDisplay(_("All steps passed."))
