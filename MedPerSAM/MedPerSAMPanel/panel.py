"""Copies the presenter's state onto widgets, and presses and choices back.

Calls on widgets are written so that PythonQt and PySide6 both understand them: ``w.setX(v)``, ``w.property("x")``,
``w.signal.connect(f)``.
"""

import qt
import slicer
from slicer.i18n import tr as _

from MedPerSAMLib.mrml.confidence_nodes import ConfidenceNodes
from MedPerSAMLib.mrml.method_list import METHOD_ROWS
from MedPerSAMLib.mrml.targets import TARGETS
from MedPerSAMPanel.learning_panel import LearningPanel

DEVICES = ("auto", "cpu", "cuda", "mps")


def ask_user(question):
    """Whether the user answers a question with Yes."""
    answer = qt.QMessageBox.question(None, _("MedPerSAM"), question, qt.QMessageBox.Yes | qt.QMessageBox.No)
    return answer == qt.QMessageBox.Yes


class Panel:
    """The widgets of MedPerSAM.ui.

    Args:
        ui: the named widgets.
        presenter: what they show and call.
        ask: asked before something is deleted; gives whether the answer was yes.
    """

    def __init__(self, ui, presenter, ask=ask_user):
        self.ui, self.presenter, self.ask = ui, presenter, ask
        self.parameters = None
        self._listed = None
        self._folded = None
        with_reasons = (ui.mainButton, ui.snapButton, ui.fromHereButton, ui.toHereButton, ui.undoButton, ui.redoButton)
        self._tips = {button: button.property("toolTip") for button in with_reasons}
        self.learning = LearningPanel(ui, presenter.learning)
        self._combos = (
            (ui.methodCombo, "method"),
            (ui.modelCombo, "model"),
            (ui.deviceCombo, "device"),
            (ui.targetCombo, "target"),
        )
        for row in METHOD_ROWS:
            ui.methodCombo.addItem(row.title, row.name)
        for device in DEVICES:
            ui.deviceCombo.addItem(device, device)
        for target in TARGETS:
            ui.targetCombo.addItem(target.capitalize(), target)
        self._list_models()
        self._connect()

    def set_parameters(self, parameters):
        """Use another parameter node, or none while the scene closes."""
        self.parameters = parameters
        self.render()

    def render(self):
        """Show the presenter's state."""
        ui, state = self.ui, self.presenter.state
        for label, text in (
            (ui.foundLabel, state.found),
            (ui.deviceLabel, state.device),
            (ui.dependenciesLabel, state.dependencies),
            (ui.statusLabel, state.status),
            (ui.resultLabel, state.result),
            (ui.positionLabel, state.position or (_("In the table:") + f" {state.table}" if state.table else "")),
        ):
            label.setText(text)
        ui.mainButton.setText(_(state.button))
        ui.mainButton.setEnabled(state.button_enabled)
        ui.mainButton.setToolTip(state.button_tip or self._tips[ui.mainButton])
        for button, reason in (
            (ui.snapButton, state.snap_reason),
            (ui.fromHereButton, state.limit_reason),
            (ui.toHereButton, state.limit_reason),
            (ui.undoButton, state.undo_reason),
            (ui.redoButton, state.redo_reason),
        ):
            button.setEnabled(not reason)
            button.setToolTip(reason or self._tips[button])
        ui.progressBar.setRange(0, 0 if state.progress is None else 100)
        ui.progressBar.setValue(0 if state.progress is None else int(state.progress))
        for button in (ui.worstButton, ui.nextButton, ui.previousButton):
            button.setEnabled(state.can_navigate)
        for button in (ui.acceptButton, ui.discardButton):
            button.setEnabled(state.can_decide)
        ui.show3DButton.setEnabled(state.can_show_3d and state.inputs_enabled)
        ui.plotButton.setEnabled(bool(self.presenter.results))
        for section in (ui.inputsSection, ui.methodSection, ui.whereSection):
            section.setEnabled(state.inputs_enabled)
        folded = not (state.result or state.can_decide)
        if folded != self._folded:  # only then, because the user may fold it by hand
            self._folded = folded
            ui.resultsSection.setProperty("collapsed", folded)
        log = "\n".join(state.log)
        if ui.logText.property("plainText") != log:
            ui.logText.setPlainText(log)
        self.learning.render(self.parameters)
        if self.parameters is not None:
            self._render_choices(self.parameters)

    def _render_choices(self, parameters):
        ui = self.ui
        for combo, name in self._combos:
            index = combo.findData(getattr(parameters, name))
            if index != combo.property("currentIndex"):  # -1, which shows nothing, for what is not in the list
                combo.setCurrentIndex(index)
        row = self.presenter.models.row(parameters.model)
        ui.modelDetailsLabel.setText(" ".join(filter(None, [row.details, self.presenter.models.status])))
        ui.downloadButton.setEnabled(row.can_download)
        for spin in (ui.firstSliceSpin, ui.lastSliceSpin):
            spin.setEnabled(parameters.limitRange)
            spin.setMinimum(0)  # connecting a parameter without limits to a spin box takes away those of the .ui
            spin.setMaximum(max(self.presenter.state.slice_count - 1, spin.property("value")))
        self._list_segments(parameters)
        table = self._table(parameters)
        if ui.confidenceTable.mrmlTableNode() is not table:
            ui.confidenceTable.setMRMLTableNode(table)

    def _connect(self):
        ui, presenter, models = self.ui, self.presenter, self.presenter.models
        presenter.changed.connect(self.render)
        models.changed.connect(self._list_models)
        for button, action in (
            (ui.mainButton, presenter.press_main),
            (ui.snapButton, presenter.snap.press),
            (ui.fromHereButton, presenter.first_slice_here),
            (ui.toHereButton, presenter.last_slice_here),
            (ui.worstButton, presenter.go_to_worst),
            (ui.nextButton, presenter.go_to_next),
            (ui.previousButton, presenter.go_to_previous),
            (ui.acceptButton, presenter.accept),
            (ui.discardButton, presenter.discard),
            (ui.undoButton, presenter.undo),
            (ui.redoButton, presenter.redo),
            (ui.show3DButton, presenter.show_3d),
            (ui.plotButton, self._show_plot),
            (ui.downloadButton, lambda: models.download(self.parameters.model)),
            (ui.importButton, lambda: models.import_file(str(ui.importPath.property("currentPath")))),
            (ui.clearFolderButton, self._clear_folder),
            (ui.openFolderButton, lambda: qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(models.folder))),
            (ui.copyLogButton, lambda: qt.QApplication.clipboard().setText("\n".join(presenter.state.log))),
        ):
            button.clicked.connect(lambda *_checked, action=action: action())
        for combo, name in self._combos:
            combo.currentIndexChanged.connect(lambda *_index, combo=combo, name=name: self._choose(combo, name))
        ui.segmentsList.itemChanged.connect(lambda *_item: self._choose_segments())

    def _choose(self, combo, name):
        if self.parameters is not None and combo.property("currentIndex") >= 0:
            setattr(self.parameters, name, combo.itemData(combo.property("currentIndex")))

    def _choose_segments(self):
        if self.parameters is not None:
            items = [self.ui.segmentsList.item(row) for row in range(self.ui.segmentsList.property("count"))]
            self.parameters.segmentIDs = [i.data(qt.Qt.UserRole) for i in items if i.checkState() == qt.Qt.Checked]

    def _list_models(self):
        combo = self.ui.modelCombo
        combo.blockSignals(True)
        combo.clear()
        for row in self.presenter.models.rows:
            combo.addItem(row.text, row.name)
        combo.blockSignals(False)
        self.render()

    def _list_segments(self, parameters):
        content = None if parameters.segmentation is None else parameters.segmentation.GetSegmentation()
        ids = [] if content is None else [content.GetNthSegmentID(i) for i in range(content.GetNumberOfSegments())]
        wanted = [(i, content.GetSegment(i).GetName(), i in parameters.segmentIDs) for i in ids]
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

    def _clear_folder(self):
        question = self.presenter.models.clear_question()
        if not question or self.ask(question):
            self.presenter.models.clear()

    def _show_plot(self):
        navigator = self.presenter.navigator
        chart = None if navigator is None else navigator.chart()
        if chart is not None:
            slicer.modules.plots.logic().ShowChartInLayout(chart)

    def _table(self, parameters):
        if self.presenter.navigator is not None:
            return self.presenter.navigator.table()
        if parameters.segmentation is None or not parameters.segmentIDs:
            return None
        return ConfidenceNodes(parameters.segmentation).table(parameters.segmentIDs[0])
