"""The sample in the scene, and its registration with (a stand-in of) the Sample Data module."""

from __future__ import annotations

import sys
import types

import numpy as np
import slicer

from MedPerSAMLib.mrml.annotated_slices import find_annotation
from MedPerSAMLib.mrml.sample_data import PUBLIC_SAMPLES, SAMPLE_NAME, load_sample, register_samples
from MedPerSAMLib.sample import REFERENCE_SLICE


def test_sample_is_ready_to_propagate(scene):
    volume, segmentation = load_sample()
    content = segmentation.GetSegmentation()
    names = [content.GetNthSegment(i).GetName() for i in range(content.GetNumberOfSegments())]
    assert len(names) >= 4 and "liver" in names
    for i in range(len(names)):
        found = find_annotation(segmentation, content.GetNthSegmentID(i), volume)
        assert (found.axis, list(found.masks), found.warnings) == (0, [REFERENCE_SLICE], ())
    assert volume.GetStorageNode() is None, "saving the scene must not write into the installed package"


def test_registration(scene, monkeypatch):
    registered = []

    class SampleDataLogic:
        """STAND-IN."""

        @staticmethod
        def registerCustomSampleDataSource(**source):
            registered.append(source)

        def downloadSample(self, name):
            return f"downloaded {name}"

    monkeypatch.setitem(sys.modules, "SampleData", types.SimpleNamespace(SampleDataLogic=SampleDataLogic))
    register_samples("icons")
    assert [s["sampleName"] for s in registered] == [SAMPLE_NAME, *(f"MedPerSAM: {name}" for name in PUBLIC_SAMPLES)]
    volume = registered[0]["customDownloader"](None)
    assert np.ptp(slicer.util.arrayFromVolume(volume)) > 0
    assert registered[1]["customDownloader"](None) == "downloaded CTLiver"
