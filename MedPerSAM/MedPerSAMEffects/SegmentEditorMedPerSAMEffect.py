"""The Segment Editor effect "Propagate slice": the module's presenter with five buttons, for those who live in Segment
Editor."""

import os

import qt
import slicer
from SegmentEditorEffects import AbstractScriptedSegmentEditorEffect
from slicer.i18n import tr as _

from MedPerSAMLib.mrml.panel_state import BUSY, FINISHED

TICK_MS = 30


class SegmentEditorMedPerSAMEffect(AbstractScriptedSegmentEditorEffect):
    """Propagates the selected segment from the slices that are drawn; all other choices are the module's.

    A result that went into another segment is selected in Segment Editor, so that corrections go on there; unless the
    user has gone on to another segment or tool meanwhile.
    """

    def __init__(self, scriptedEffect):
        scriptedEffect.name = "Propagate slice"
        if hasattr(scriptedEffect, "title"):
            scriptedEffect.title = _("Propagate slice")
        scriptedEffect.perSegment = True
        AbstractScriptedSegmentEditorEffect.__init__(self, scriptedEffect)
        self.presenter = self.timer = None
        self._started_at = None  # segmentation and segment of a run that this effect has started and watches

    def clone(self):
        import qSlicerSegmentationsEditorEffectsPythonQt as effects

        cloned = effects.qSlicerSegmentEditorScriptedEffect(None)
        cloned.setPythonSource(__file__.replace("\\", "/"))
        return cloned

    def icon(self):
        path = os.path.join(os.path.dirname(os.path.dirname(__file__)), "Resources", "Icons", "MedPerSAM.png")
        return qt.QIcon(path)

    def helpText(self):
        return _(
            "Outline the structure on one slice, or draw a rectangle around it and press Snap. Press Propagate. "
            "Correct the least certain slice, propagate again, accept. "
            "Method, model, device and where the result goes are chosen in the MedPerSAM module."
        )

    def setupOptionsFrame(self):
        self.foundLabel = qt.QLabel()
        self.foundLabel.setWordWrap(True)
        self.statusLabel = qt.QLabel()
        self.statusLabel.setWordWrap(True)
        self.progressBar = qt.QProgressBar()
        for widget, tip in (
            (self.foundLabel, _("What was found in the selected segment: the annotated slices come from the voxels")),
            (self.progressBar, _("How far the current phase is")),
            (self.statusLabel, _("What is happening; or what came out; or what went wrong and what to do")),
        ):
            widget.setToolTip(tip)
            self.scriptedEffect.addOptionsWidget(widget)
        self.buttons = {}
        for name, text, tip in (
            ("snap", _("Snap drawn shape"), _("Replace a rectangle or rough shape by the outline of what lies in it")),
            ("main", _("Propagate"), _("Propagate the drawn slices of the selected segment; Cancel while it runs")),
            ("worst", _("Least certain slice"), _("Go to the slice with the lowest confidence")),
            ("accept", _("Accept"), _("Keep the result")),
            ("discard", _("Discard"), _("Take the result back; what you drew stays")),
        ):
            button = qt.QPushButton(text)
            button.setToolTip(tip)
            button.clicked.connect(lambda *_checked, name=name: self._press(name))
            self.scriptedEffect.addOptionsWidget(button)
            self.buttons[name] = button
        self.timer = qt.QTimer()
        self.timer.setInterval(TICK_MS)
        self.timer.timeout.connect(self._tick)

    def activate(self):
        self._use_module()
        self.timer.start()
        self.updateGUIFromMRML()

    def deactivate(self):
        self.timer.stop()
        self._started_at = None  # whoever goes on to another tool chooses the segment alone

    def cleanup(self):
        """Segment Editor's widget goes, and ours with it: nothing may be shown in them any more."""
        if self.timer is not None:
            self.timer.stop()
        self._leave_module()

    def updateGUIFromMRML(self):
        if self.presenter is not None:
            self._choose_selected()
            self._render()

    def sourceVolumeNodeChanged(self):
        self.updateGUIFromMRML()

    def _use_module(self):
        """The module's own presenter: one worker, one cache of embeddings, one list of results."""
        presenter = slicer.modules.medpersam.widgetRepresentation().self().presenter
        if self.presenter is not presenter:  # at first, and after the module was reloaded
            self._leave_module()
            self.presenter, self._started_at = presenter, None
            self.presenter.changed.connect(self._render)

    def _leave_module(self):
        if self.presenter is not None:
            self.presenter.changed.disconnect(self._render)
            self.presenter = None

    def _choose_selected(self):
        node = self.scriptedEffect.parameterSetNode()
        parameters = self.presenter.parameters
        if node is None or parameters is None or self._started_at is not None or not self.presenter.state.inputs_enabled:
            return
        parameters.volume = node.GetSourceVolumeNode()
        parameters.segmentation = node.GetSegmentationNode()
        parameters.segmentIDs = [node.GetSelectedSegmentID()] if node.GetSelectedSegmentID() else []

    def _press(self, name):
        if self.presenter is not None:
            self._choose_selected()
            {
                "snap": self.presenter.snap.press,
                "main": self.presenter.press_main,
                "worst": self.presenter.go_to_worst,
                "accept": self.presenter.accept,
                "discard": self.presenter.discard,
            }[name]()
            if name == "main" and self._started_at is None and self.presenter.state.phase in BUSY:
                self._started_at = self._selected()
            if name == "discard":
                self._select_chosen()

    def _tick(self):
        self.presenter.tick()
        if self._started_at is not None and self.presenter.state.phase not in BUSY:
            started_at, self._started_at = self._started_at, None
            if self.presenter.state.phase == FINISHED and self._selected() == started_at:
                self._select_chosen()
            self.updateGUIFromMRML()

    def _selected(self):
        """What is selected in Segment Editor: (segmentation's ID, segment's ID)."""
        node = self.scriptedEffect.parameterSetNode()
        segmentation = None if node is None else node.GetSegmentationNode()
        return ("", "") if segmentation is None else (segmentation.GetID(), node.GetSelectedSegmentID())

    def _select_chosen(self):
        """Show what the module chose: the segment that received the result; after a Discard the drawn one again."""
        node, parameters = self.scriptedEffect.parameterSetNode(), self.presenter.parameters
        if node is None or parameters is None or not parameters.segmentIDs:
            return
        if parameters.segmentation is not node.GetSegmentationNode():
            node.SetAndObserveSegmentationNode(parameters.segmentation)
        if node.GetSelectedSegmentID() not in parameters.segmentIDs:
            node.SetSelectedSegmentID(parameters.segmentIDs[0])

    def _render(self):
        state = self.presenter.state
        self.foundLabel.setText(state.found)
        self.statusLabel.setText(" ".join(filter(None, [state.status, state.position])))
        self.progressBar.setRange(0, 0 if state.progress is None else 100)
        self.progressBar.setValue(0 if state.progress is None else int(state.progress))
        self.buttons["main"].setText(_(state.button))
        self.buttons["main"].setEnabled(state.button_enabled)
        self.buttons["snap"].setEnabled(not state.snap_reason)
        self.buttons["worst"].setEnabled(state.can_navigate)
        for name in ("accept", "discard"):
            self.buttons[name].setEnabled(state.can_decide)
