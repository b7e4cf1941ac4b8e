"""Our generated sample in the Sample Data module, ready to propagate; no download."""

from __future__ import annotations

import os

import slicer

from MedPerSAMLib.mrml.views import go_to_slice
from MedPerSAMLib.sample import REFERENCE_SLICE, sample_paths

SAMPLE_NAME = "MedPerSAM: abdomen with one annotated slice"
PUBLIC_SAMPLES = ("CTLiver", "MRHead")
"""Volumes that Slicer's own Sample Data module downloads, to try a real case."""


def load_sample(scene: slicer.vtkMRMLScene | None = None) -> tuple:
    """The sample's volume node and segmentation node, in the scene.

    Raises:
        OSError: a file of the sample is missing or cannot be read.
    """
    scene = slicer.mrmlScene if scene is None else scene
    paths = sample_paths()
    volume = _read(scene, "vtkMRMLScalarVolumeNode", "vtkMRMLNRRDStorageNode", paths.volume, "MedPerSAM abdomen")
    segmentation = _read(
        scene, "vtkMRMLSegmentationNode", "vtkMRMLSegmentationStorageNode", paths.reference, "MedPerSAM organs"
    )
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    return volume, segmentation


def show_sample(*_source) -> slicer.vtkMRMLScalarVolumeNode:
    """Load the sample and show its annotated slice, as Sample Data does with what it downloads; returns the volume.

    Raises:
        OSError: as for :func:`load_sample`.
    """
    volume, _segmentation = load_sample()
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    go_to_slice(slicer.mrmlScene, volume, axis=0, index=REFERENCE_SLICE)
    return volume


def register_samples(icons: str) -> None:
    """Register the sample with the Sample Data module.

    Args:
        icons: folder of the module's icons.
    """
    import SampleData

    thumbnail = os.path.join(icons, "MedPerSAM.png")
    logic = SampleData.SampleDataLogic
    for name, load in (
        (SAMPLE_NAME, show_sample),
        # Slicer's own sources, under our heading: downloaded by Sample Data, with its checksums.
        *((f"MedPerSAM: {name}", lambda *_source, name=name: logic().downloadSample(name)) for name in PUBLIC_SAMPLES),
    ):
        logic.registerCustomSampleDataSource(
            category="MedPerSAM",
            sampleName=name,
            thumbnailFileName=thumbnail,
            # Sample Data wants one of each and only hands them to the downloader, which needs none.
            uris=f"medpersam:{name}",
            fileNames=name,
            nodeNames=name,
            customDownloader=load,
        )


def _read(scene, node_class: str, storage_class: str, path, name: str):
    node = scene.AddNewNodeByClass(node_class, name)
    storage = scene.AddNewNodeByClass(storage_class)
    storage.SetFileName(str(path))
    if not storage.ReadData(node):
        scene.RemoveNode(node)
        scene.RemoveNode(storage)
        raise OSError(f"The sample's file '{path}' cannot be read; install the extension again.")
    # Not kept: saving the scene must not write into the installed package.
    scene.RemoveNode(storage)
    node.CreateDefaultDisplayNodes()
    return node
