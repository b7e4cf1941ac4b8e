"""Where ``medpersam segment`` and ``medpersam apply`` write: a segmentation, and a report and a picture where asked for."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MedPerSAMLib.errors import OutputError

if TYPE_CHECKING:
    from MedPerSAMLib.services.pictures.canvas import Canvas


@dataclass(frozen=True)
class VolumeOutputs:
    """The files of one result.

    Attributes:
        segmentation: label image or .seg.nrrd.
        report: JSON; None without one.
        picture: PNG; None without one.
    """

    segmentation: Path
    report: Path | None
    picture: Path | None

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> VolumeOutputs:
        """What ``--output``, ``--report`` and ``--picture`` ask for."""
        report, picture = (Path(path) if path else None for path in (arguments.report, arguments.picture))
        return cls(Path(arguments.output), report, picture)

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        return tuple(path for path in (self.segmentation, self.report, self.picture) if path)

    def check(self, sources: Sequence[str]) -> None:
        """Whatever is wrong with where results go is said before any work is done.

        Raises:
            OutputError: an unknown suffix, a place that cannot be written to, an input, or the same file twice.
        """
        from MedPerSAMLib.services.images.write_segmentation import check_writable, output_suffix

        output_suffix(str(self.segmentation))
        for path in self.files:
            check_writable(path)
            for source in sources:
                if os.path.exists(path) and os.path.exists(source) and path.samefile(source):
                    raise OutputError(f"{path} is an input; write the result to another file.")
        if len({path.absolute() for path in self.files}) < len(self.files):
            raise OutputError("Output, report and picture name the same file; give each its own.")

    def partial(self) -> VolumeOutputs:
        """The files of a result that was stopped."""
        from MedPerSAMLib.services.images.write_segmentation import partial_path

        report, picture = (path and partial_path(path) for path in (self.report, self.picture))
        return VolumeOutputs(partial_path(self.segmentation), report, picture)

    def write(self, segmentation: Sequence[Any], report: Mapping[str, Any], picture: Callable[[], Canvas]) -> None:
        """Write all of them, or none.

        Args:
            segmentation: the arguments of ``write_segmentation`` after its path.
            report: its content.
            picture: draws it; not called where none is asked for.

        Raises:
            OutputError: a file cannot be written.
        """
        from MedPerSAMLib.services.images.write_segmentation import write_segmentation
        from MedPerSAMLib.services.images.written_together import written_together
        from MedPerSAMLib.services.report import write_report

        with written_together(self.files):
            write_segmentation(self.segmentation, *segmentation)
            if self.report:
                write_report(self.report, report)
            if self.picture:
                picture().save(self.picture)

    def print_others(self) -> None:
        """Print where report and picture are."""
        for what, path in (("report", self.report), ("picture", self.picture)):
            if path:
                print(f"{what}: {path}")
