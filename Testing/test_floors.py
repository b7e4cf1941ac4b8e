"""Who may import whom, and that importing the package costs nothing (STYLE.md, The house)."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "MedPerSAMLib"

FLOORS = {"core": 0, "services": 1, "mrml": 2}
SHARED = {"errors", "sample", "weights"}
"""Parts of the library that every floor may use and that use no floor, but for what the sample is written with."""

FORBIDDEN = {
    # A floor may import none of these, at any place.
    "core": {"slicer", "vtk", "qt", "ctk", "PySide6", "Testing", "MedPerSAM"},
    "services": {"slicer", "vtk", "qt", "ctk", "PySide6", "Testing", "MedPerSAM"},
    "mrml": {"qt", "ctk", "PySide6", "Testing", "MedPerSAM"},
    "shared": {"slicer", "vtk", "qt", "ctk", "PySide6", "torch", "Testing", "MedPerSAM"},
}
FILE_SCOPE = {"numpy", "scipy", "SimpleITK", "slicer", "vtk", "MedPerSAMLib"}
"""What may be imported when a file of services or mrml is loaded, besides the standard library."""

OWN = {path.stem for path in (ROOT / "MedPerSAM").iterdir() if path.is_dir() or path.suffix == ".py"}
SLICER_FILE_SCOPE = FILE_SCOPE | OWN | {"qt", "ctk", "SegmentEditorEffects"}
"""The same for MedPerSAM/: with its own files, Qt, and the base classes that Slicer's Segment Editor brings."""


def library_files() -> list[Path]:
    return sorted(LIBRARY.rglob("*.py"))


def floor_of(path: Path) -> str:
    first = path.relative_to(LIBRARY).parts[0].removesuffix(".py")
    return first if first in FLOORS else "shared"


def imports(tree: ast.AST, only_file_scope: bool = False) -> Iterator[str]:
    """Full names of imported modules; what is only imported for type checkers does not count at file scope."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif not (only_file_scope and _runs_later(node)):
            yield from imports(node, only_file_scope)


def _runs_later(node: ast.AST) -> bool:
    """Whether importing the file does not run this."""
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in ast.dump(node.test)
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))


def parsed(path: Path) -> ast.AST:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@pytest.mark.parametrize("path", library_files(), ids=lambda path: str(path.relative_to(LIBRARY)))
def test_imports_only_downwards(path):
    floor = floor_of(path)
    for name in imports(parsed(path)):
        parts = name.split(".")
        assert parts[0] not in FORBIDDEN[floor], f"{floor} may not import {name}"
        if parts[0] == "MedPerSAMLib" and len(parts) > 1 and parts[1] in FLOORS:
            assert floor != "shared" or path.name == "__main__.py", f"{path.name} may not import {name}"
            assert floor == "shared" or FLOORS[parts[1]] <= FLOORS[floor], f"{floor} may not import {name}"


@pytest.mark.parametrize(
    "path",
    [path for path in library_files() if floor_of(path) in ("services", "mrml")],
    ids=lambda path: str(path.relative_to(LIBRARY)),
)
def test_heavy_packages_only_inside_functions(path):
    """The trap "third-party imports at file scope" (SLICER.md): they must not keep Slicer from loading a module whose
    packages are not installed yet.

    MedPerSAMLib/core is exempt because its files are written in torch, whose classes and functions cannot be defined
    without it. What loads with the module may use only those files of core that need no torch, which the next test sees
    to; all others are imported inside the functions that run them.
    """
    check_file_scope(path, FILE_SCOPE)


def test_what_the_module_loads_needs_no_extra_package():
    pytest.importorskip("slicer", reason="the slicer-core wheel is not installed")
    found = {
        name for path in (ROOT / "MedPerSAM").rglob("*.py") for name in imports(parsed(path), only_file_scope=True)
    }
    names = sorted(name for name in found if (ROOT / name.replace(".", "/")).with_suffix(".py").exists())
    code = (
        "import importlib, sys\n"
        "sys.modules.update({name: None for name in ('torch', 'segment_anything', 'safetensors')})\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "MedPerSAMLib.mrml.presenter" in names and done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "MedPerSAM").rglob("*.py")), ids=lambda path: path.name)
def test_module_files_load_without_extra_packages(path):
    check_file_scope(path, SLICER_FILE_SCOPE)


def check_file_scope(path: Path, allowed: set[str]) -> None:
    for name in imports(parsed(path), only_file_scope=True):
        first = name.split(".")[0]
        assert first in allowed or first in sys.stdlib_module_names, f"import {name} inside the function that needs it"


def test_the_command_line_answers_without_torch():
    code = (
        "import sys\n"
        "from MedPerSAMLib.services.cli import parser\n"
        "parser()\n"
        "sys.exit('torch is loaded' if 'torch' in sys.modules else 0)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys, MedPerSAMLib\n"
        "heavy = {'torch', 'slicer', 'qt', 'PySide6', 'vtk', 'SimpleITK', 'numpy', 'scipy'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_the_package_is_instant():
    bare, package = min(seconds("pass") for _ in range(7)), min(seconds("import MedPerSAMLib") for _ in range(7))
    assert package - bare < 0.2


def seconds(code: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    return time.perf_counter() - began


def test_the_core_computes_and_touches_no_image_files():
    """SimpleITK's filters may be used in the core, its readers and writers not."""
    for path in (LIBRARY / "core").rglob("*.py"):
        assert "ReadImage" not in path.read_text() and "WriteImage" not in path.read_text(), path
