"""The widgets of the section "Learn from finished cases"; written like panel.py for PythonQt and PySide6."""

import qt
import slicer
from slicer.i18n import tr as _

from MedPerSAMLib.core.learn.learners import LEARNERS
from MedPerSAMLib.services.learning.profile import SUFFIX


class LearningPanel:
    """Copies the state of the section onto its widgets, and presses and choices back.

    Args:
        ui: the named widgets of MedPerSAM.ui.
        presenter: of the section.
    """

    def __init__(self, ui, presenter):
        self.ui, self.presenter = ui, presenter
        self.parameters = None
        self._listed = None
        for learner in LEARNERS.values():
            if not learner.baseline:
                ui.learnerCombo.addItem(f"{learner.name}: {learner.summary}", learner.name)
        self._tips = {
            button: button.property("toolTip")
            for button in (
                ui.addCaseButton,
                ui.removeCaseButton,
                ui.fitButton,
                ui.curveButton,
                ui.loadProfileButton,
                ui.saveProfileButton,
                ui.applyButton,
                ui.applyAgainButton,
            )
        }
        for button, action in (
            (ui.addCaseButton, presenter.add_case),
            (ui.removeCaseButton, lambda: presenter.remove_case(ui.casesList.property("currentRow"))),
            (ui.fitButton, presenter.press_fit),
            (ui.curveButton, self._show_curve),
            (ui.loadProfileButton, self._load),
            (ui.saveProfileButton, self._save),
            (ui.applyButton, presenter.press_apply),
            (ui.applyAgainButton, presenter.apply_again),
        ):
            button.clicked.connect(lambda *_checked, action=action: action())
        ui.learnerCombo.currentIndexChanged.connect(lambda *_index: self._choose())

    def render(self, parameters):
        """Show the presenter's state with the choices of a parameter node, or none while the scene closes."""
        self.parameters = parameters
        ui, state = self.ui, self.presenter.state
        self._list_cases(state.cases)
        ui.fitButton.setText(_(state.fit_button))
        ui.applyButton.setText(_(state.apply_button))
        nothing_listed = "" if state.cases else _("There is no case in the list.")
        no_profile = "" if state.has_profile else _("There is no profile yet.")
        for button, reason in (
            (ui.addCaseButton, state.busy_reason),
            (ui.removeCaseButton, state.busy_reason or nothing_listed),
            (ui.fitButton, state.fit_reason),
            (ui.curveButton, "" if state.has_curve else _("There is no training curve yet.")),
            (ui.loadProfileButton, state.busy_reason),
            (ui.saveProfileButton, state.busy_reason or no_profile),
            (ui.applyButton, state.apply_reason),
            (ui.applyAgainButton, state.again_reason),
        ):
            button.setEnabled(not reason)
            button.setToolTip(reason or self._tips[button])
        ui.learnerCombo.setEnabled(not state.busy_reason)
        ui.learningProgressBar.setRange(0, 0 if state.progress is None else 100)
        ui.learningProgressBar.setValue(0 if state.progress is None else int(state.progress))
        ui.learningStatusLabel.setText(state.status)
        ui.profileLabel.setText(state.profile)
        if parameters is not None:
            index = ui.learnerCombo.findData(parameters.learner)
            if index >= 0 and index != ui.learnerCombo.property("currentIndex"):
                ui.learnerCombo.setCurrentIndex(index)

    def _list_cases(self, cases):
        if cases == self._listed:
            return
        self._listed = cases
        self.ui.casesList.clear()
        for line in cases:
            self.ui.casesList.addItem(line)
        self.ui.casesList.setCurrentRow(len(cases) - 1)

    def _choose(self):
        if self.parameters is not None:
            self.parameters.learner = self.ui.learnerCombo.itemData(self.ui.learnerCombo.property("currentIndex"))

    def _show_curve(self):
        chart = self.presenter.chart()
        if chart is not None:
            slicer.modules.plots.logic().ShowChartInLayout(chart)

    def _save(self):
        self.presenter.save(self._ask(qt.QFileDialog.getSaveFileName, _("Save profile")))

    def _load(self):
        self.presenter.load(self._ask(qt.QFileDialog.getOpenFileName, _("Load profile")))

    @staticmethod
    def _ask(dialog, title):
        """The chosen path, empty after Cancel; PySide6 gives a pair, PythonQt the path alone."""
        answer = dialog(None, title, "", _("MedPerSAM profile") + f" (*{SUFFIX})")
        return str(answer if isinstance(answer, str) else answer[0])
