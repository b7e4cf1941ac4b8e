"""What pip installs: every file that is needed at run time, and nothing of the tests."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_data_file_of_the_package_is_listed():
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["MedPerSAMLib"]
    listed = {path for pattern in patterns for path in (ROOT / "MedPerSAMLib").glob(pattern)}
    for path in (ROOT / "MedPerSAMLib").rglob("*"):
        if path.is_file() and path.suffix not in (".py", ".pyc") and path.name != "CMakeLists.txt":
            assert path in listed, f"{path.relative_to(ROOT)} is missing from package-data"


def test_every_folder_of_the_package_is_a_package():
    for path in (ROOT / "MedPerSAMLib").rglob("*.py"):
        assert (path.parent / "__init__.py").is_file(), f"{path.parent.relative_to(ROOT)} has no __init__.py"


def test_tests_are_not_installed():
    assert PROJECT["tool"]["setuptools"]["packages"]["find"]["include"] == ["MedPerSAMLib", "MedPerSAMLib.*"]


def test_versions_are_pinned_for_every_dependency():
    pinned = {line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    wanted = [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["test"]]
    for requirement in wanted:
        name = requirement.split(">")[0].lower()
        assert name in pinned or name.replace("-", "_") in pinned, f"{requirement} is not pinned in constraints.txt"
