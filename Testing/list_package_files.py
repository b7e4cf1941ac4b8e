"""Rewrites the lists of files in the two CMakeLists.txt; what is not listed there is not packaged.

Usage: ``python Testing/list_package_files.py`` rewrites them, ``--check`` only tells whether they are right (exit code
1). Standard library only.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RUN_TIME_SUFFIXES = {".py", ".json", ".png", ".nrrd", ".safetensors", ".ui", ".txt"}
"""Kinds of files that may be needed at run time."""

LISTS = {
    "MedPerSAM": {"MODULE_PYTHON_SCRIPTS": {".py"}, "MODULE_PYTHON_RESOURCES": {".png", ".ui", ".json"}},
    "MedPerSAMLib": {"MODULE_PYTHON_SCRIPTS": {".py"}, "MODULE_PYTHON_RESOURCES": RUN_TIME_SUFFIXES - {".py"}},
}
"""Folder -> CMake list -> suffixes that belong into it."""


def run_time_files(folder: Path) -> list[str]:
    """Every file below ``folder`` that an installed package needs, relative to it."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix in RUN_TIME_SUFFIXES
        and path.name != "CMakeLists.txt"
        and not any(part.startswith((".", "__pycache__")) for part in path.relative_to(folder).parts)
        and ".egg-info" not in path.as_posix()
    )


def listed_files(cmake: str, name: str, module: str) -> list[str]:
    """The entries of one ``set(name ...)`` in the text of a CMakeLists.txt."""
    found = re.search(rf"set\({name}\n(.*?)\n  \)", cmake, re.DOTALL)
    lines = [] if found is None else [line.strip() for line in found.group(1).splitlines()]
    return [line.replace("${MODULE_NAME}", module) for line in lines if line]


def rewritten(cmake: str, module: str, files: list[str]) -> str:
    """The text of a CMakeLists.txt with its lists brought up to date."""
    for name, suffixes in LISTS[module].items():
        wanted = [file for file in files if Path(file).suffix in suffixes]
        block = "".join(f"  {file}\n" for file in wanted)
        before, rest = cmake.split(f"set({name}\n", 1)
        cmake = f"{before}set({name}\n{block}  ){rest.split('  )', 1)[1]}"
    return cmake


def main(arguments: list[str]) -> int:
    """Rewrite or check; returns the exit code."""
    wrong = 0
    for module in LISTS:
        path = ROOT / module / "CMakeLists.txt"
        old = path.read_text(encoding="utf-8")
        new = rewritten(old, module, run_time_files(ROOT / module))
        if new != old:
            wrong += 1
            print(f"{path.relative_to(ROOT)}: {'out of date' if '--check' in arguments else 'rewritten'}")
            if "--check" not in arguments:
                path.write_text(new, encoding="utf-8")
    return 1 if wrong and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
