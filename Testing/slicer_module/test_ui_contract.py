"""The .ui as a contract: Slicer will only complain at run time, so every name, class, property and parameter is checked
here."""

from __future__ import annotations

import ast
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

MODULE = Path(__file__).resolve().parents[2] / "MedPerSAM"
ROOT = ET.parse(MODULE / "Resources" / "UI" / "MedPerSAM.ui").getroot()
WIDGETS = {w.get("name"): w for w in ROOT.iter("widget")}
CODE = "\n".join(path.read_text(encoding="utf-8") for path in MODULE.rglob("*.py"))

QT_CLASSES = {
    "QWidget",
    "QLabel",
    "QPushButton",
    "QCheckBox",
    "QComboBox",
    "QSpinBox",
    "QProgressBar",
    "QListWidget",
    "QPlainTextEdit",
}
CUSTOM_PROPERTIES = {
    "qMRMLWidget": set(),
    "qMRMLNodeComboBox": {"nodeTypes", "showChildNodeTypes", "noneEnabled", "addEnabled", "removeEnabled"},
    "qMRMLTableView": set(),
    "ctkCollapsibleButton": {"text", "collapsed"},
    "ctkPathLineEdit": set(),
}
QT_PROPERTIES = {
    "text",
    "toolTip",
    "wordWrap",
    "textInteractionFlags",
    "maximum",
    "value",
    "readOnly",
    "minimumSize",
    "maximumSize",
    "sizePolicy",
}
CONNECTED = {"qMRMLNodeComboBox", "QSpinBox", "QCheckBox"}
"""Classes that the parameter node wrapper has a connector for."""


def _fields() -> dict[str, str]:
    tree = ast.parse((MODULE / "MedPerSAM.py").read_text(encoding="utf-8"))
    node = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "MedPerSAMParameterNode")
    return {n.target.id: ast.unparse(n.annotation) for n in node.body if isinstance(n, ast.AnnAssign)}


def _tip(widget: ET.Element) -> str | None:
    return next((p.findtext("string") for p in widget.findall("property") if p.get("name") == "toolTip"), None)


def test_names_in_code_exist():
    used = set(re.findall(r"\bui\.(\w+)", CODE))
    assert used and used <= set(WIDGETS)


def test_names_are_unique():
    names = [w.get("name") for w in ROOT.iter("widget")]
    assert len(names) == len(set(names))


def test_every_parameter_widget_is_a_field_with_a_connector():
    bound = {}
    for name, widget in WIDGETS.items():
        for prop in widget.findall("property"):
            if prop.get("name") == "SlicerParameterName":
                assert prop.get("stdset") == "0", f"{name}: must be a dynamic property"
                assert widget.get("class") in CONNECTED, (
                    f"{name}: the wrapper has no connector for {widget.get('class')}"
                )
                bound[prop.findtext("string")] = name
    assert bound and set(bound) <= set(_fields())


def test_parameter_node_has_the_fields_of_the_presenter():
    pytest.importorskip("slicer")
    from MedPerSAMLib.mrml.choices import Parameters

    assert set(_fields()) == set(Parameters.__annotations__)


@pytest.mark.parametrize("name", WIDGETS)
def test_class_and_properties_are_known(name):
    widget = WIDGETS[name]
    kind = widget.get("class")
    assert kind in QT_CLASSES | set(CUSTOM_PROPERTIES)
    allowed = QT_PROPERTIES | CUSTOM_PROPERTIES.get(kind, set()) | {"SlicerParameterName"}
    assert {p.get("name") for p in widget.findall("property")} <= allowed


@pytest.mark.parametrize("name", [n for n, w in WIDGETS.items() if w.get("class") not in ("QWidget", "qMRMLWidget")])
def test_every_widget_has_a_tool_tip(name):
    assert (_tip(WIDGETS[name]) or "").strip()


def test_results_are_in_the_order_of_use():
    order = [w.get("name") for w in WIDGETS["resultsSection"].iter("widget")]
    order = [name for name in order if name.endswith(("Button", "Table"))]
    navigation = ["worstButton", "previousButton", "nextButton"]
    decide = ["acceptButton", "discardButton", "undoButton", "redoButton"]
    assert order == ["plotButton", "confidenceTable", *navigation, *decide, "show3DButton"]


def test_nobody_is_sent_to_a_command_line():
    texts = [element.text or "" for element in ROOT.iter("string")]
    assert texts and not [text for text in texts if "medpersam " in text or "--" in text]


def _labelled() -> list[tuple[str, ET.Element]]:
    """Names of the labels in front of an input, each with the widget beside it."""
    pairs = []
    for layout in ROOT.iter("layout"):
        places = {(i.get("row"), i.get("column")): i.find("widget") for i in layout.findall("item")}
        for (row, column), widget in places.items():
            if column == "0" and widget is not None and widget.get("class") == "QLabel" and (row, "1") in places:
                pairs.append((widget.get("name"), places[row, "1"]))
    return pairs


@pytest.mark.parametrize("name, beside", _labelled(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_label_tells_what_its_input_tells(name, beside):
    """The tip of a label is that of the input beside it, or of the first one in there."""
    inputs = [tip for widget in beside.iter("widget") if (tip := _tip(widget))]
    assert _tip(WIDGETS[name]) == inputs[0]


@pytest.mark.parametrize("name", WIDGETS)
def test_a_tip_says_more_than_the_text(name):
    text = [p.findtext("string") for p in WIDGETS[name].findall("property") if p.get("name") == "text"]
    assert not text or not text[0] or text[0].rstrip(":.").lower() != (_tip(WIDGETS[name]) or "").rstrip(".").lower()


def test_custom_widgets_are_declared_and_get_the_scene():
    declared = {c.findtext("class"): (c.findtext("extends"), c.findtext("header")) for c in ROOT.iter("customwidget")}
    used = {w.get("class") for w in ROOT.iter("widget")} - QT_CLASSES
    assert used == set(declared) and all(all(values) for values in declared.values())
    receivers = {
        c.findtext("receiver"): (c.findtext("sender"), c.findtext("signal"), c.findtext("slot"))
        for c in ROOT.findall("connections/connection")
    }
    needing = {n for n, w in WIDGETS.items() if w.get("class") in ("qMRMLNodeComboBox", "qMRMLTableView")}
    assert set(receivers) == needing
    expected = ("MedPerSAM", "mrmlSceneChanged(vtkMRMLScene*)", "setMRMLScene(vtkMRMLScene*)")
    assert set(receivers.values()) == {expected}


def test_third_party_imports_at_file_scope_are_those_allowed():
    """The Extensions Index allows the standard library, Slicer, vtk, SimpleITK, numpy and scipy; torch and the like
    never."""
    import sys

    allowed = {
        "qt",
        "ctk",
        "slicer",
        "vtk",
        "numpy",
        "scipy",
        "SimpleITK",
        "MedPerSAMLib",
        "MedPerSAMPanel",
        "SegmentEditorEffects",
    }
    for path in [*MODULE.rglob("*.py"), *(MODULE.parent / "MedPerSAMLib" / "mrml").glob("*.py")]:
        if path.name == "grow_from_seeds.py":
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module]
            for name in names:
                top = name.partition(".")[0]
                assert top in allowed or top in sys.stdlib_module_names, f"{path.name} imports {name} at file scope"
