"""STAND-IN for Slicer's Sample Data module: as strict about what is registered as the real one, and as little helpful.

Like the real one it takes strings for lists of one, wants as many of each as there are addresses, compares sources by
their text, and calls a downloader of ours without showing anything afterwards.
"""

from __future__ import annotations

import sys
import types

import slicer

FIELDS = ("uris", "fileNames", "nodeNames", "loadFiles", "loadFileType", "checksums")


class SampleDataSource:
    """One entry."""

    def __init__(self, sampleName=None, customDownloader=None, thumbnailFileName=None, **lists) -> None:
        self.sampleName, self.customDownloader = sampleName, customDownloader
        self.thumbnailFileName = thumbnailFileName
        if isinstance(lists["uris"], str):
            lists = {name: [lists[name]] for name in FIELDS}
        self.lists = [lists[name] for name in FIELDS]
        if len({len(values) for values in self.lists}) != 1:
            raise ValueError(f"{sampleName}: all fields must have the same length")

    def __str__(self) -> str:
        return f"{self.sampleName} {self.customDownloader} {list(zip(*self.lists))}"

    def __eq__(self, other) -> bool:
        return str(self) == str(other)


class SampleDataLogic:
    """Keeps the entries in ``slicer.modules.sampleDataSources``, by category."""

    @staticmethod
    def registerCustomSampleDataSource(
        category="Custom",
        sampleName=None,
        uris=None,
        fileNames=None,
        nodeNames=None,
        customDownloader=None,
        thumbnailFileName=None,
        loadFileType="VolumeFile",
        loadFiles=None,
        checksums=None,
    ) -> None:
        entries = slicer.modules.sampleDataSources.setdefault(category, [])
        source = SampleDataSource(
            sampleName,
            customDownloader,
            thumbnailFileName,
            uris=uris,
            fileNames=fileNames,
            nodeNames=nodeNames,
            loadFiles=loadFiles,
            loadFileType=loadFileType,
            checksums=checksums,
        )
        if source not in entries:
            entries.append(source)

    def downloadSample(self, name):
        return f"downloaded {name}"


def install(monkeypatch) -> dict[str, list[SampleDataSource]]:
    """Put it where ``import SampleData`` finds it; returns what is registered, by category."""
    sources: dict[str, list[SampleDataSource]] = {}
    module = types.ModuleType("SampleData")
    module.SampleDataLogic, module.SampleDataSource = SampleDataLogic, SampleDataSource
    monkeypatch.setitem(sys.modules, "SampleData", module)
    monkeypatch.setattr(slicer.modules, "sampleDataSources", sources, raising=False)
    return sources
