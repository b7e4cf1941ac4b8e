"""What was written into a segment, remembered in a tag of the segment.

A slice that still has its fingerprint is ours. Because a tag belongs to the segment, Segment Editor's undo, copies and
``.seg.nrrd`` files carry the memory along with the voxels.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from dataclasses import dataclass, field

import numpy as np
import slicer
import vtk

_TAG = "MedPerSAM.Propagated"


@dataclass
class Record:
    """What was written into one segment.

    Attributes:
        axis: array axis across which the slices lie.
        shape: (k, j, i) of the volume; fingerprints of another volume say nothing about this one.
        slices: slice index -> fingerprint of what we wrote, for slices where we wrote something.
        outlines: slice index -> :func:`packed` mask of each slice that held something when we were last there, the user's
            included; None where Segment Editor does not resample the segment, and the fingerprints are enough.
    """

    axis: int
    shape: tuple[int, int, int]
    slices: dict[int, str] = field(default_factory=dict)
    outlines: dict[int, str] | None = None

    @classmethod
    def of(cls, segment: slicer.vtkSegment) -> Record | None:
        """The record kept in a segment, or None."""
        text = vtk.reference("")
        if not segment.GetTag(_TAG, text):
            return None
        try:
            kept = json.loads(str(text))
            slices, outlines = ({int(k): v for k, v in kept.get(n, {}).items()} for n in ("slices", "outlines"))
            return cls(int(kept["axis"]), tuple(kept["shape"]), slices, outlines if "outlines" in kept else None)
        except (ValueError, KeyError, TypeError, AttributeError):
            return None  # written by something else: then every slice counts as the user's, which loses nothing

    def keep_in(self, segment: slicer.vtkSegment) -> None:
        """Remember this record in the segment."""
        kept = {"axis": self.axis, "shape": list(self.shape), "slices": self.slices}
        if self.outlines is not None:
            kept["outlines"] = self.outlines
        segment.SetTag(_TAG, json.dumps(kept))

    def ours(self, index: int, mask: np.ndarray) -> bool:
        """Whether a slice that looks like (rows, columns) ``mask`` now is as we left it: ours, or empty and never
        ours."""
        return self.slices.get(index) == (fingerprint(mask) if mask.any() else None)

    def remember(self, index: int, mask: np.ndarray) -> None:
        """A slice is ours and looks like (rows, columns) bool ``mask``; an empty one is nobody's."""
        self.slices.pop(index, None)
        if mask.any():
            self.slices[index] = fingerprint(mask)
        if self.outlines is not None:
            self.keep_outline(index, mask)

    def keep_outline(self, index: int, mask: np.ndarray) -> None:
        """Keep how a slice looks, whoever drew it."""
        self.outlines.pop(index, None)
        if mask.any():
            self.outlines[index] = packed(mask)

    def left(self) -> np.ndarray:
        """(k, j, i) bool of all outlines."""
        mask = np.zeros(self.shape, bool)
        planes = np.moveaxis(mask, self.axis, 0)
        for index, outline in self.outlines.items():
            planes[index] = _unpacked(outline, planes.shape[1:])
        return mask


def forget(segment: slicer.vtkSegment) -> None:
    """Remove the record: from now on every slice counts as the user's."""
    segment.RemoveTag(_TAG)


def fingerprint(mask: np.ndarray) -> str:
    """Sixteen characters that change with every pixel of a (rows, columns) bool mask."""
    return hashlib.blake2b(np.packbits(mask).tobytes(), digest_size=8).hexdigest()


def packed(mask: np.ndarray) -> str:
    """A (rows, columns) bool mask as text: some hundred characters for an organ on 512x512."""
    return base64.b64encode(zlib.compress(np.packbits(mask).tobytes())).decode("ascii")


def _unpacked(text: str, shape: tuple[int, ...]) -> np.ndarray:
    bits = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
    return np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape).astype(bool)
