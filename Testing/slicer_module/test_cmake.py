"""The extension as CMake sees it: every file listed, configured and installed with stand-ins for Slicer's macros."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "Testing" / "list_package_files.py"


def test_every_run_time_file_is_listed():
    answer = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, f"{answer.stdout}run: python Testing/list_package_files.py"


def test_a_forgotten_file_is_noticed(tmp_path):
    sys.path.insert(0, str(SCRIPT.parent))
    import list_package_files as listing

    cmake = (ROOT / "MedPerSAMLib" / "CMakeLists.txt").read_text(encoding="utf-8")
    files = listing.run_time_files(ROOT / "MedPerSAMLib")
    assert listing.rewritten(cmake, "MedPerSAMLib", files) == cmake
    more = listing.rewritten(cmake, "MedPerSAMLib", sorted([*files, "core/forgotten.py", "weights/new.safetensors"]))
    assert "core/forgotten.py" in listing.listed_files(more, "MODULE_PYTHON_SCRIPTS", "MedPerSAMLib")
    assert "weights/new.safetensors" in listing.listed_files(more, "MODULE_PYTHON_RESOURCES", "MedPerSAMLib")


def test_index_entry():
    entry = json.loads((ROOT / "Resources" / "MedPerSAM.json").read_text(encoding="utf-8"))
    assert entry["category"] == "Segmentation" and entry["build_dependencies"] == ["PyTorch"]
    assert entry["scm_url"].endswith("/SlicerMedPerSAM.git")


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> tuple[Path, Path]:
    """The build folder and the folder with the installed scripted modules."""
    cmake = shutil.which("cmake")
    if cmake is None:
        pytest.skip("cmake is not on this machine")
    build, prefix = tmp_path_factory.mktemp("build"), tmp_path_factory.mktemp("install")
    stand_in = Path(__file__).parent / "cmake_stand_in"
    # No compiler is needed for scripted modules; a real Slicer build has one.
    configure = [
        cmake,
        "-S",
        ROOT,
        "-B",
        build,
        f"-DSlicer_DIR={stand_in}",
        "-DBUILD_TESTING=ON",
        f"-DCMAKE_INSTALL_PREFIX={prefix}",
    ]
    for compiler in ("C", "CXX"):
        configure += [f"-DCMAKE_{compiler}_COMPILER=/bin/true", f"-DCMAKE_{compiler}_COMPILER_FORCED=ON"]
    for command in (configure, [cmake, "--install", build]):
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        assert answer.returncode == 0, answer.stdout + answer.stderr
    return build, prefix / "lib" / "Slicer-5.12" / "qt-scripted-modules"


def test_installed_tree_is_complete(installed):
    build, modules = installed
    for name in (
        "MedPerSAM.py",
        "Resources/UI/MedPerSAM.ui",
        "Resources/Icons/MedPerSAM.png",
        "MedPerSAMPanel/panel.py",
        "MedPerSAMEffects/SegmentEditorMedPerSAMEffect.py",
        "MedPerSAMLib/core/task.py",
        "MedPerSAMLib/mrml/logic.py",
    ):
        assert (modules / name).is_file(), name
    assert list((modules / "MedPerSAMLib" / "sample").glob("*.nrrd"))
    assert not (modules / "Testing").exists(), "two published extensions install a package of that name and collide"
    top = {path.name for path in modules.glob("*.py")}
    assert top == {"MedPerSAM.py"}, "Slicer takes every other file here for a module of its own"
    assert (build / "tests.txt").read_text() == "MedPerSAM.py\n"
    assert "DEPENDS=PyTorch" in (build / "meta.txt").read_text()


def test_installed_module_loads_from_there(installed):
    pytest.importorskip("PySide6")
    _, modules = installed
    program = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        f"import qt_stand_ins; qt_stand_ins.install(); sys.path.insert(0, {str(modules)!r})\n"
        "import MedPerSAM, MedPerSAMLib\n"
        f"assert MedPerSAMLib.__file__.startswith({str(modules)!r}), MedPerSAMLib.__file__\n"
        "widget = MedPerSAM.MedPerSAMWidget(); widget.setup(); widget.enter()\n"
        "assert 'torch' not in sys.modules\n"
        "from MedPerSAMLib.mrml.sample_data import load_sample\n"
        "volume, segmentation = load_sample()\n"
        "result = MedPerSAM.MedPerSAMLogic().process(volume, segmentation,\n"
        "    [segmentation.GetSegmentation().GetNthSegmentID(0)], method='copy', device='cpu')\n"
        "print('slices', len(next(iter(result.values())).mask)); widget.cleanup()\n"
    )
    environment = {**os.environ, "MEDPERSAM_HOME": str(modules / "home"), "PYTHONPATH": ""}
    answer = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=modules.parent,
        env=environment,
    )
    assert answer.returncode == 0 and "slices" in answer.stdout, answer.stderr[-2000:]
