"""Where MedPerSAM keeps what belongs to the user: models and cached embeddings."""

from __future__ import annotations

import os
import sys
from pathlib import Path

HOME_VARIABLE = "MEDPERSAM_HOME"


def home() -> Path:
    """The folder that outlives upgrades of the package and of the Slicer extension; not created here.

    The environment variable MEDPERSAM_HOME names it; else it is the platform's folder for user data.
    """
    if os.environ.get(HOME_VARIABLE):
        return Path(os.environ[HOME_VARIABLE]).expanduser().absolute()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "MedPerSAM"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "MedPerSAM"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "medpersam"
