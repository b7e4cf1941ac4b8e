"""STAND-IN for ``slicer.parameterNodeWrapper``: values kept with the node, nodes as references, changes announced."""

from __future__ import annotations

from collections.abc import Callable

import slicer


def wrapper_stand_in(reader: Callable) -> Callable[[type], type]:
    """The decorator; ``reader(widget)`` gives (signal, read, write) or raises TypeError."""
    return lambda cls: _wrap(cls, reader)


def _wrap(cls: type, reader: Callable) -> type:
    """Stand-in for ``parameterNodeWrapper``: values are kept in the node, nodes as references, changes are
    announced."""
    fields = dict(cls.__annotations__)

    class Wrapped(cls):
        def __init__(self, node) -> None:
            object.__setattr__(self, "parameterNode", node)
            object.__setattr__(self, "_gui", [])
            values = getattr(node, "_stand_in_values", None)
            if values is None:
                values = {
                    name: getattr(cls, name, [] if "list" in str(kind) else None) for name, kind in fields.items()
                }
                node._stand_in_values = values
            object.__setattr__(self, "_values", values)

        def __getattribute__(self, name):
            if name not in fields:
                return object.__getattribute__(self, name)
            kind = fields[name]
            if isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode):
                return self.parameterNode.GetNodeReference(name)
            value = self._values[name]
            return list(value) if isinstance(value, list) else value

        def __setattr__(self, name, value) -> None:
            if name not in fields:
                raise AttributeError(f"{name} is no parameter")
            kind = fields[name]
            if isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode):
                if self.parameterNode.GetNodeReference(name) is value:
                    return
                self.parameterNode.SetNodeReferenceID(name, None if value is None else value.GetID())
            else:
                if self._values[name] == value:
                    return
                self._values[name] = value
            self._show()
            self.parameterNode.Modified()

        def AddObserver(self, *arguments):
            return self.parameterNode.AddObserver(*arguments)

        def RemoveObserver(self, tag) -> None:
            self.parameterNode.RemoveObserver(tag)

        def connectGui(self, ui) -> None:
            """As in Slicer, it gives no tag, so that nothing can disconnect it."""
            named = {widget.property("SlicerParameterName"): widget for widget in vars(ui).values()}
            self.connectParametersToGui({name: widget for name, widget in named.items() if name})

        def connectParametersToGui(self, widgets) -> int:
            for name, widget in widgets.items():
                if hasattr(widget, "setRange") and isinstance(getattr(self, name), int):
                    widget.setRange(-(2**31), 2**31 - 1)  # as in Slicer, where the parameter has no limits
                self._gui.append((widget, name, _connect(self, name, *reader(widget)[:2])))
            self._show()
            return 1

        def disconnectGui(self, tag) -> None:
            if tag is None:
                return
            for widget, _, (signal, slot) in self._gui:
                signal.disconnect(slot)
            self._gui.clear()

        def _show(self) -> None:
            for widget, name, _ in self._gui:
                reader(widget)[2](getattr(self, name))

    Wrapped.__name__ = cls.__name__
    return Wrapped


def _connect(parameters, name: str, signal, read):
    def slot(*_value):
        setattr(parameters, name, read())

    signal.connect(slot)
    return signal, slot
