"""MedPerSAM: one annotated slice in, the whole volume out.

Four floors, each importing only downwards (Testing/test_floors.py holds them):

1. ``core``      numpy, scipy and torch; no files, no Slicer, no Qt
2. ``services``  models on disk, image files, evaluation, command line
3. ``mrml``      Slicer nodes and the Qt-free presenter
4. ``MedPerSAM/`` (outside this package) Qt binding only

Importing the package loads none of torch, slicer or Qt.
"""

__version__ = "0.1.0"
