"""Run the demo or the tests on a bare machine: ``python Testing/run.py demo`` or ``python Testing/run.py test``.

Needs Python 3.11 or newer with pip, nothing else, on Linux, macOS and Windows. The first call makes the environment
``.venv`` beside this folder and installs MedPerSAM into it; later calls use it again. Arguments after ``test`` go to
pytest, those after ``demo`` to ``medpersam demo``.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / ".venv"
CONSTRAINTS = ROOT / "constraints.txt"
CPU_WHEELS = "https://download.pytorch.org/whl/cpu"
"""PyPI's torch for Linux brings gigabytes of CUDA libraries; here is the one without."""

COMMANDS = {
    # command: (extras to install, module to run, arguments put first)
    "demo": ("", "MedPerSAMLib", ["demo"]),
    "test": ("[test]", "pytest", []),
}


def main(arguments: list[str]) -> int:
    """Make the environment where needed, and run the command in it."""
    if not arguments or arguments[0] not in COMMANDS:
        print(__doc__)
        return 2
    if sys.version_info < (3, 11):  # noqa: UP036
        print(f"MedPerSAM needs Python 3.11 or newer, this is {sys.version.split()[0]}; call a newer one.")
        return 2
    extras, module, first = COMMANDS[arguments[0]]
    python = environment_python()
    try:
        install(python, extras)
    except subprocess.CalledProcessError as error:
        print(f"The installation failed (exit code {error.returncode}); the lines above say why. Call again to go on.")
        return 1
    folder = ROOT if arguments[0] == "test" else Path.cwd()
    return subprocess.run([python, "-m", module, *first, *arguments[1:]], cwd=folder, check=False).returncode


def environment_python() -> str:
    """The environment's interpreter; the environment is made where it is missing or half made."""
    python = ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    whole = python.exists() and subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0
    if not whole:
        print(f"Making the environment {ENVIRONMENT}", flush=True)
        venv.create(ENVIRONMENT, clear=True, with_pip=True, symlinks=os.name != "nt")
    return str(python)


def install(python: str, extras: str) -> None:
    """Install MedPerSAM with ``extras``, unless that was done for the same requirements before."""
    marker = ENVIRONMENT / f"installed{extras}.sha256"
    requirements = (ROOT / "pyproject.toml").read_bytes() + CONSTRAINTS.read_bytes() + str(ROOT).encode()
    wanted = hashlib.sha256(requirements).hexdigest()
    if marker.exists() and marker.read_text() == wanted:
        return
    print("Installing what MedPerSAM needs (about 1 GB, some minutes the first time)", flush=True)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if sys.platform == "linux":
        torch = next(line for line in CONSTRAINTS.read_text().splitlines() if line.startswith("torch=="))
        # Where that index cannot be reached and no wheel lies elsewhere, the next step takes PyPI's torch.
        subprocess.run([*pip, "--quiet", "--retries", "1", "--no-deps", "--index-url", CPU_WHEELS, torch], check=False)
    subprocess.run([*pip, "--constraint", str(CONSTRAINTS), "--editable", f"{ROOT}{extras}"], check=True)
    marker.write_text(wanted)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
