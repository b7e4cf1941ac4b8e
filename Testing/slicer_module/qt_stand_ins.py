"""STAND-INS for what only the Slicer desktop has: PythonQt's ``qt``, ``ctk``, the qMRML widgets,
ScriptedLoadableModule, the parameter node wrapper.

They are written from Slicer's documentation so that the real widget class of MedPerSAM.py can be instantiated on
PySide6 off screen. They prove that our code calls what it says it calls, in an order that works; they prove nothing
about PythonQt.
"""

from __future__ import annotations

import os
import sys
import types
import xml.etree.ElementTree as ET
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import scene as slicer_scene
import segment_editor_stand_in
import slicer
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtUiTools import QUiLoader
from wrapper_stand_in import wrapper_stand_in

_KEPT: list = []


class qMRMLWidget(QtWidgets.QWidget):
    """Holds the scene and hands it to the widgets that the .ui connects."""

    def setMRMLScene(self, scene) -> None:
        for receiver in getattr(self, "receivers_of_scene", ()):
            receiver.setMRMLScene(scene)


class qMRMLNodeComboBox(QtWidgets.QComboBox):
    """Lists the scene's nodes of one class."""

    currentNodeChanged = QtCore.Signal(object)

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self._types, self._scene, self._none, self._add, self._remove = [], None, True, False, False
        self._children = True
        self.currentIndexChanged.connect(lambda _: self.currentNodeChanged.emit(self.currentNode()))

    def _property(kind, name):
        def get(self):
            return getattr(self, name)

        def put(self, value):
            setattr(self, name, value)

        return QtCore.Property(kind, get, put)

    nodeTypes = _property("QStringList", "_types")
    showChildNodeTypes = _property(bool, "_children")
    noneEnabled = _property(bool, "_none")
    addEnabled = _property(bool, "_add")
    removeEnabled = _property(bool, "_remove")

    def setMRMLScene(self, scene) -> None:
        self._scene = scene
        self.refresh()

    def refresh(self) -> None:
        """The real widget observes the scene; this one is told."""
        chosen = self.currentData()
        self.blockSignals(True)
        self.clear()
        self.addItem("None", None)
        for kind in self._types:
            nodes = self._scene.GetNodesByClass(kind)
            nodes.UnRegister(None)
            for i in range(nodes.GetNumberOfItems()):
                node = nodes.GetItemAsObject(i)
                if not self._children and node.GetClassName() != kind:
                    continue
                self.addItem(node.GetName(), node.GetID())
        self.setCurrentIndex(max(0, self.findData(chosen)))
        self.blockSignals(False)

    def currentNode(self):
        return None if self.currentData() is None else self._scene.GetNodeByID(self.currentData())

    def setCurrentNode(self, node) -> None:
        self.refresh()
        self.setCurrentIndex(max(0, self.findData(None if node is None else node.GetID())))


class qMRMLTableView(QtWidgets.QTableView):
    """Shows a table node."""

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self._node = None

    def setMRMLScene(self, scene) -> None:
        self._scene = scene

    def mrmlTableNode(self):
        return self._node

    def setMRMLTableNode(self, node) -> None:
        self._node = node
        model = QtGui.QStandardItemModel()
        if node is not None:
            model.setHorizontalHeaderLabels([node.GetColumnName(c) for c in range(node.GetNumberOfColumns())])
            for row in range(node.GetNumberOfRows()):
                model.appendRow(
                    [QtGui.QStandardItem(node.GetCellText(row, c)) for c in range(node.GetNumberOfColumns())]
                )
        self.setModel(model)


class ctkCollapsibleButton(QtWidgets.QWidget):
    """A titled section that folds."""

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self._text, self._collapsed = "", False
        self.setContentsMargins(4, 24, 4, 4)

    def _get_text(self) -> str:
        return self._text

    def _set_text(self, text: str) -> None:
        self._text = text

    def _get_collapsed(self) -> bool:
        return self._collapsed

    def _set_collapsed(self, collapsed: bool) -> None:
        self._collapsed = collapsed
        for child in self.findChildren(QtWidgets.QWidget, options=QtCore.Qt.FindDirectChildrenOnly):
            child.setVisible(not collapsed)
        self.setMaximumHeight(24 if collapsed else 16777215)
        self.updateGeometry()

    text = QtCore.Property(str, _get_text, _set_text)
    collapsed = QtCore.Property(bool, _get_collapsed, _set_collapsed)

    def showEvent(self, event) -> None:
        self._set_collapsed(self._collapsed)
        super().showEvent(event)

    def sizeHint(self):
        return QtCore.QSize(100, 24) if self._collapsed else super().sizeHint()

    minimumSizeHint = sizeHint

    def paintEvent(self, event) -> None:
        painter = QtGui.QPainter(self)
        painter.fillRect(0, 0, self.width(), 22, QtGui.QColor("#dddddd"))
        painter.drawText(8, 16, ("> " if self._collapsed else "v ") + self._text)


class ctkPathLineEdit(QtWidgets.QLineEdit):
    """A line with a path."""

    def _get(self) -> str:
        return self.text()

    def _set(self, path: str) -> None:
        self.setText(path)

    currentPath = QtCore.Property(str, _get, _set)


CUSTOM = (qMRMLWidget, qMRMLNodeComboBox, qMRMLTableView, ctkCollapsibleButton, ctkPathLineEdit)


def load_ui(path: str) -> QtWidgets.QWidget:
    """Load a .ui as ``slicer.util.loadUI`` does; connections of the scene are made by hand."""
    root = ET.parse(path).getroot()
    receivers = [c.findtext("receiver") for c in root.findall("connections/connection")]
    root.remove(root.find("connections"))
    loader = QUiLoader()
    for widget in CUSTOM:
        loader.registerCustomWidget(widget)
    device = QtCore.QBuffer()
    device.setData(ET.tostring(root))
    device.open(QtCore.QIODevice.ReadOnly)
    panel = loader.load(device)
    if panel is None:
        raise RuntimeError(loader.errorString())
    panel.receivers_of_scene = [panel.findChild(QtWidgets.QWidget, name) for name in receivers]
    return panel


def child_variables(panel: QtWidgets.QWidget) -> types.SimpleNamespace:
    """``slicer.util.childWidgetVariables``: every named child as an attribute."""
    named = {child.objectName(): child for child in panel.findChildren(QtWidgets.QWidget) if child.objectName()}
    return types.SimpleNamespace(**named)


class ScriptedLoadableModule:
    """The base of module classes."""

    def __init__(self, parent) -> None:
        self.parent = parent


class ScriptedLoadableModuleWidget:
    """The base of module widgets."""

    def __init__(self, parent=None) -> None:
        self.parent = parent if parent is not None else QtWidgets.QWidget()
        self.layout = self.parent.layout() or QtWidgets.QVBoxLayout(self.parent)
        self.reloads = 0

    def setup(self) -> None:
        pass

    def resourcePath(self, name: str) -> str:
        return str(Path(sys.modules[type(self).__module__].__file__).parent / "Resources" / name)

    def onReload(self) -> None:
        self.reloads += 1


class ScriptedLoadableModuleLogic:
    """The base of logics; its parameter node is a vtkMRMLScriptedModuleNode in the scene."""

    def __init__(self, parent=None) -> None:
        pass

    def getParameterNode(self):
        scene = slicer.mrmlScene
        node = scene.GetSingletonNode("MedPerSAM", "vtkMRMLScriptedModuleNode")
        if node is None:
            node = slicer.vtkMRMLScriptedModuleNode()
            node.SetSingletonTag("MedPerSAM")
            node = scene.AddNode(node)
        return node


class ScriptedLoadableModuleTest:
    """The base of self tests."""

    def delayDisplay(self, message: str, *_args) -> None:
        print(message)


def _reader(widget):
    """(signal, read function, write function) of the exact widget classes that the real wrapper has a connector for."""
    if type(widget) is qMRMLNodeComboBox:
        return widget.currentNodeChanged, widget.currentNode, widget.setCurrentNode
    if type(widget) is QtWidgets.QSpinBox:
        return widget.valueChanged, widget.value, widget.setValue
    if type(widget) is QtWidgets.QCheckBox:
        return widget.toggled, widget.isChecked, widget.setChecked
    raise TypeError(f"the parameter node wrapper has no connector for {type(widget).__name__}")


class _App:
    """``slicer.app``: remembers what is connected to its start."""

    def __init__(self) -> None:
        self.connected: list = []

    def connect(self, signal: str, slot) -> None:
        self.connected.append((signal, slot))


def install() -> QtWidgets.QApplication:
    """Put the stand-ins where MedPerSAM.py imports the real things from; once per process."""
    if _KEPT:
        return _KEPT[0]
    slicer_scene.start()
    application = QtWidgets.QApplication.instance() or QtWidgets.QApplication([])
    _KEPT.append(application)
    qt = types.ModuleType("qt")
    for module in (QtCore, QtGui, QtWidgets):
        qt.__dict__.update({name: getattr(module, name) for name in dir(module) if not name.startswith("_")})
    sys.modules["qt"] = qt
    sys.modules["ctk"] = types.ModuleType("ctk")
    slicer.app = _App()
    segment_editor_stand_in.install()
    slicer.util.loadUI, slicer.util.childWidgetVariables = load_ui, child_variables
    for name, content in {
        "slicer.i18n": {"tr": lambda text: text, "translate": lambda _context, text: text},
        "slicer.parameterNodeWrapper": {"parameterNodeWrapper": wrapper_stand_in(_reader)},
        "slicer.ScriptedLoadableModule": {
            kind.__name__: kind
            for kind in (
                ScriptedLoadableModule,
                ScriptedLoadableModuleWidget,
                ScriptedLoadableModuleLogic,
                ScriptedLoadableModuleTest,
            )
        },
    }.items():
        module = types.ModuleType(name)
        module.__dict__.update(content)
        sys.modules[name] = module
    folder = Path(__file__).resolve().parents[2] / "MedPerSAM"
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    return application


def module():
    """MedPerSAM.py, imported on the stand-ins."""
    install()
    import MedPerSAM

    return MedPerSAM


def picture(widget: QtWidgets.QWidget, path: Path, width: int = 460, height: int | None = None) -> None:
    """Render the panel as it would be shown into a PNG."""
    widget.resize(width, height or widget.sizeHint().height())
    widget.show()
    QtWidgets.QApplication.processEvents()
    widget.resize(width, height or max(200, widget.sizeHint().height()))
    QtWidgets.QApplication.processEvents()
    widget.grab().save(str(path))
    widget.hide()


def process_events(milliseconds: int = 0) -> None:
    """Let timers and posted events run; an event loop of its own, because PySide's processEvents with a limit loses
    references."""
    loop = QtCore.QEventLoop()
    QtCore.QTimer.singleShot(milliseconds, loop.quit)
    loop.exec()
