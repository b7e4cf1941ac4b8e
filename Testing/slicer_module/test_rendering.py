"""The result is visible where it belongs, in Slicer's own slice and 3D views drawn off screen (in a process of their
own)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

PROGRAM = """
import os, sys
sys.path[:0] = [{root!r}, {here!r}]
import scene as build, rendering
from MedPerSAMLib.mrml.sample_data import load_sample
from MedPerSAMLib.mrml.logic import PropagationLogic
from MedPerSAMLib.mrml.geometry import slice_centre
build.clear()
volume, segmentation = load_sample()
point = slice_centre(volume, 0, 21)
rendering.slice_picture(volume, segmentation, {out!r} + "/before.png", "Red", "Coronal", point)
segment = segmentation.GetSegmentation().GetNthSegmentID(0)
PropagationLogic().process(volume, segmentation, [segment], method="copy", device="cpu")
rendering.slice_picture(volume, segmentation, {out!r} + "/after.png", "Green", "Coronal", point)
rendering.surface_picture(segmentation, {out!r} + "/surface.png")
print("drawn", flush=True)
os._exit(0)
"""


def test_views_show_the_result(tmp_path):
    program = PROGRAM.format(root=str(HERE.parents[1]), here=str(HERE), out=str(tmp_path))
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    if "drawn" not in answer.stdout:
        pytest.skip(f"no off-screen OpenGL here: {answer.stderr[-300:]}")
    before, after, surface = (_coloured(tmp_path / f"{name}.png") for name in ("before", "after", "surface"))
    assert before < 0.05 and after > 0.15, "the liver's colour fills its columns after a copy"
    assert surface > 0.15


LIVE = """
import os, sys
sys.path[:0] = [{root!r}, {here!r}]
import numpy as np
import scene as build, rendering
from MedPerSAMLib.mrml.sample_data import load_sample
from MedPerSAMLib.mrml.logic import PropagationLogic
from MedPerSAMLib.mrml.geometry import slice_centre
from MedPerSAMLib.mrml.segment_reader import read_slice
build.clear()
volume, segmentation = load_sample()
segment = segmentation.GetSegmentation().GetNthSegmentID(0)
point = slice_centre(volume, 0, 25)
window = rendering.slice_picture(volume, segmentation, {out!r} + "/live.png", "Red", "Axial", point)
pictures = [rendering.pixels(window)]
run = PropagationLogic().start(volume, segmentation, [segment], method="copy")
drawn = read_slice(segmentation, segment, volume, 0, 21)
for mask in (drawn, np.roll(drawn, 20, 1)):
    run.write(segment, 25, mask)
    pictures.append(rendering.pixels(window))
run.cancel()
pictures.append(rendering.pixels(window))
print("changed", *((a != b).any(axis=1).sum() for a, b in zip(pictures, pictures[1:])), flush=True)
print("same" if (pictures[0] == pictures[-1]).all() else "left over", flush=True)
os._exit(0)
"""


def test_an_open_view_follows_each_slice_and_the_cancel(tmp_path):
    """Slices are written into the segment's own array; an open view must notice all the same."""
    program = LIVE.format(root=str(HERE.parents[1]), here=str(HERE), out=str(tmp_path))
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    if "changed" not in answer.stdout:
        pytest.skip(f"no off-screen OpenGL here: {answer.stderr[-300:]}")
    line = next(line for line in answer.stdout.splitlines() if line.startswith("changed"))
    assert all(int(count) > 1000 for count in line.split()[1:]) and "same" in answer.stdout.split()


def _coloured(path: Path) -> float:
    """Share of pixels whose red and blue differ as much as the liver's."""
    import numpy as np
    import vtk
    from vtk.util import numpy_support

    reader = vtk.vtkPNGReader()
    reader.SetFileName(str(path))
    reader.Update()
    pixels = numpy_support.vtk_to_numpy(reader.GetOutput().GetPointData().GetScalars()).astype(int)
    return float(np.mean(pixels[:, 0] - pixels[:, 2] > 30))
