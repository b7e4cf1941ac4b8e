"""The module loaded from its source tree: Slicer puts only MedPerSAM/ on the path, and the library is found from there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed")

ROOT = Path(__file__).resolve().parents[2]

LOAD = """
import json, sys
from pathlib import Path

root, stand_ins = sys.argv[1:]
# What a developer's Python knows of the tree and Slicer's does not: an editable installation, the folder itself.
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
sys.path[:] = [stand_ins, *(place for place in sys.path if Path(place).resolve() != Path(root))]
try:
    import MedPerSAMLib
except ModuleNotFoundError:
    found_before = False
else:
    found_before = True
import qt_stand_ins
qt_stand_ins.install()
import MedPerSAM, MedPerSAMLib
files = [MedPerSAM.__file__, MedPerSAMLib.__file__]
print(json.dumps({"before": found_before, "files": files, "path": sys.path[0], "logic": MedPerSAM.MedPerSAMLogic.__name__}))
"""


def test_the_library_is_found_beside_the_module(tmp_path):
    done = subprocess.run(
        [sys.executable, "-I", "-c", LOAD, str(ROOT), str(Path(__file__).parent)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert not told["before"], "this Python finds the library by another way, so that the test means nothing"
    assert told["files"] == [str(ROOT / "MedPerSAM" / "MedPerSAM.py"), str(ROOT / "MedPerSAMLib" / "__init__.py")]
    assert told["path"] == str(ROOT) and told["logic"] == "MedPerSAMLogic"
