"""What is installed, by whom, and what is said when it is refused."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import pytest

from MedPerSAMLib.errors import DependencyError
from MedPerSAMLib.mrml.dependencies import KEPT, Dependencies, missing_packages_named

ROOT = Path(__file__).resolve().parents[2]


class World:
    """Packages that appear when they are installed."""

    def __init__(self, *there: str, torch=True, pip=True, version="2.9.1+cu128") -> None:
        self.there, self.calls = {*there, *(["PyTorchUtils"] if torch != "no extension" else [])}, []
        self._torch, self._pip, self.version = torch, pip, version

    def dependencies(self) -> Dependencies:
        return Dependencies(lambda name: name in self.there, self.pytorch, self.pip_ensure, lambda: self.version)

    def pytorch(self):
        if self._torch == "no extension":
            raise ImportError("PyTorchUtils")
        return types.SimpleNamespace(installTorch=self.install_torch)

    def install_torch(self, **options):
        self.calls.append(("torch", options))
        if self._torch is True:
            self.there.add("torch")
            self.version = "2.9.1+cu128"
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


def test_without_the_extension_nothing_is_promised():
    status = World(torch="no extension").dependencies().status()
    assert "extension 'PyTorch' from the Extensions Manager" in status and "agreed" not in status


@pytest.mark.parametrize("version, old", [("2.1.2+cpu", True), ("1.13.1", True), ("2.2.0", False), ("2.10.0", False)])
def test_an_old_torch_is_noticed(version, old):
    world = World("torch", "segment_anything", "safetensors", version=version)
    assert (world.dependencies().missing() == ["torch"]) is old
    assert (f"a newer torch than {version} will be installed" in world.dependencies().status()) is old
    world.dependencies().install()
    assert world.calls == ([("torch", {"askConfirmation": True, "torchVersionRequirement": ">=2.2"})] if old else [])


def test_an_old_torch_without_the_extension():
    world = World("torch", "segment_anything", "safetensors", torch="no extension", version="2.1.0")
    assert "torch 2.1.0 is too old" in world.dependencies().status()
    assert "Extensions Manager" in world.dependencies().status()


@pytest.mark.parametrize("version", [None, "built here"])
def test_a_torch_without_a_version_is_taken_as_it_is(version):
    assert World("torch", "segment_anything", "safetensors", version=version).dependencies().missing() == []


def test_what_is_installed_here_is_found_without_importing_it():
    program = (
        "import sys\nfrom MedPerSAMLib.mrml.dependencies import Dependencies\n"
        "print(Dependencies().missing(), 'torch' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.stdout.strip() == "[] False", answer.stderr


def test_process_without_torch_gives_the_remedy():
    """As a script on a Slicer without PyTorch meets it: the sentence, and the segment as it was."""
    program = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); sys.modules['torch'] = None\n"
        "import scene; scene.start()\n"
        "from MedPerSAMLib.errors import DependencyError\n"
        "from MedPerSAMLib.mrml.logic import PropagationLogic\n"
        "from MedPerSAMLib.mrml.sample_data import load_sample\n"
        "from MedPerSAMLib.mrml.segment_reader import read_mask\n"
        "volume, segmentation = load_sample()\n"
        "segment = segmentation.GetSegmentation().GetNthSegmentID(0)\n"
        "before = read_mask(segmentation, segment, volume)\n"
        "try:\n    PropagationLogic().process(volume, segmentation, [segment], method='copy')\n"
        "except DependencyError as error:\n    print(error)\n"
        "print((read_mask(segmentation, segment, volume) == before).all())\n"
    )
    answer = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "torch is not installed; press Propagate" in answer.stdout, answer.stderr[-2000:]
    assert "pip install 'torch>=2.2'" in answer.stdout and answer.stdout.strip().endswith("True")


def test_other_missing_modules_are_not_renamed():
    with pytest.raises(ModuleNotFoundError, match="no_such"), missing_packages_named():
        import no_such_module_of_ours  # noqa: F401


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
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    with pytest.raises(DependencyError, match=r"5\.12"):
        Dependencies(lambda name: name == "torch").install()
