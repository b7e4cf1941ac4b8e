"""``python -m MedPerSAMLib`` and the console script ``medpersam``."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; see :func:`MedPerSAMLib.services.cli.main`."""
    from MedPerSAMLib.services.cli import main as run

    return run(argv)


if __name__ == "__main__":
    sys.exit(main())
