"""What is installed, by whom, and what is said when it is refused."""

from __future__ import annotations

import types

import pytest

from MedPerSAMLib.errors import DependencyError
from MedPerSAMLib.mrml.dependencies import KEPT, Dependencies


class World:
    """Packages that appear when they are installed."""

    def __init__(self, *there: str, torch=True, pip=True) -> None:
        self.there, self.calls = set(there), []
        self._torch, self._pip = torch, pip

    def dependencies(self) -> Dependencies:
        return Dependencies(lambda name: name in self.there, self.pytorch, self.pip_ensure)

    def pytorch(self):
        if self._torch == "no extension":
            raise ImportError("PyTorchUtils")
        return types.SimpleNamespace(installTorch=self.install_torch)

    def install_torch(self, **options):
        self.calls.append(("torch", options))
        if self._torch is True:
            self.there.add("torch")
            return object()
        if self._torch == "broken":
            raise RuntimeError("no wheel for this driver")
        return None

    def pip_ensure(self, requirements, **options):
        self.calls.append((requirements, options))
        if not self._pip:
            raise RuntimeError("User declined package installation")
        self.there.update({"segment_anything", "safetensors"})


def test_nothing_is_done_where_all_is_there():
    world = World("torch", "segment_anything", "safetensors")
    world.dependencies().install()
    assert not world.calls and world.dependencies().status() == "All packages are installed."


def test_torch_comes_by_the_extension_and_the_rest_by_pip_with_consent():
    world = World()
    assert "after you have agreed" in world.dependencies().status() and not world.calls
    world.dependencies().install()
    (torch, torch_options), (requirements, pip_options) = world.calls
    assert torch == "torch" and torch_options["askConfirmation"] is True
    assert not any(r.startswith("torch") for r in requirements)
    assert set(pip_options["skip_packages"]) == set(KEPT) >= {"numpy", "SimpleITK", "vtk", "torch"}


@pytest.mark.parametrize(
    "world, words",
    [
        (World(torch="no extension"), "Extensions Manager"),
        (World(torch="refused"), "agree"),
        (World(torch="broken"), "no wheel for this driver"),
        (World("torch", pip=False), "declined"),
    ],
)
def test_every_refusal_has_a_remedy(world, words):
    with pytest.raises(DependencyError, match=words):
        world.dependencies().install()


def test_a_slicer_that_cannot_install_says_so(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    with pytest.raises(DependencyError, match=r"5\.12"):
        Dependencies(lambda name: name == "torch").install()
