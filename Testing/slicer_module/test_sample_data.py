"""The sample in the scene, and its registration with (a stand-in of) the Sample Data module."""

from __future__ import annotations

import types

import numpy as np
import pytest
import sample_data_stand_in
import slicer

from MedPerSAMLib.mrml.annotated_slices import find_annotation
from MedPerSAMLib.mrml.sample_data import PUBLIC_SAMPLES, SAMPLE_NAME, load_sample, register_samples
from MedPerSAMLib.mrml.views import shown_slice
from MedPerSAMLib.sample import REFERENCE_SLICE


@pytest.fixture
def registered(scene, monkeypatch):
    """The entries of our category."""
    sources = sample_data_stand_in.install(monkeypatch)
    register_samples("icons")
    return sources["MedPerSAM"]


def test_sample_is_ready_to_propagate(scene):
    volume, segmentation = load_sample()
    content = segmentation.GetSegmentation()
    names = [content.GetNthSegment(i).GetName() for i in range(content.GetNumberOfSegments())]
    assert len(names) >= 4 and "liver" in names
    for i in range(len(names)):
        found = find_annotation(segmentation, content.GetNthSegmentID(i), volume)
        assert (found.axis, list(found.masks), found.warnings) == (0, [REFERENCE_SLICE], ())
    assert volume.GetStorageNode() is None, "saving the scene must not write into the installed package"


def test_registration(registered):
    names = [source.sampleName for source in registered]
    assert names == [SAMPLE_NAME, *(f"MedPerSAM: {name}" for name in PUBLIC_SAMPLES)]
    assert registered[1].customDownloader(registered[1]) == "downloaded CTLiver"
    register_samples("icons")
    assert registered[0].thumbnailFileName.endswith("MedPerSAM.png")


def test_stand_in_refuses_what_sample_data_refuses(monkeypatch):
    sample_data_stand_in.install(monkeypatch)
    register = sample_data_stand_in.SampleDataLogic.registerCustomSampleDataSource
    with pytest.raises(TypeError):
        register(sampleName="none of them")
    with pytest.raises(ValueError, match="same length"):
        register(
            sampleName="one short",
            uris=["a", "b"],
            fileNames=["a"],
            nodeNames=["a", "b"],
            loadFiles=[None, None],
            checksums=[None, None],
            loadFileType=["VolumeFile", "VolumeFile"],
        )


def test_the_sample_is_shown_on_its_annotated_slice(registered, scene, monkeypatch):
    fitted = []
    logics = types.SimpleNamespace(
        GetNumberOfItems=lambda: 1,
        GetItemAsObject=lambda _: types.SimpleNamespace(FitSliceToBackground=lambda: fitted.append(True)),
    )
    layout = types.SimpleNamespace(mrmlSliceLogics=lambda: logics)
    monkeypatch.setattr(slicer, "app", types.SimpleNamespace(layoutManager=lambda: layout), raising=False)
    composite = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    scene.AddNewNodeByClass("vtkMRMLSliceNode").SetOrientation("Axial")
    volume = registered[0].customDownloader(registered[0])
    assert np.ptp(slicer.util.arrayFromVolume(volume)) > 0
    assert composite.GetBackgroundVolumeID() == volume.GetID() and fitted == [True]
    assert shown_slice(scene, volume, 0) == REFERENCE_SLICE
