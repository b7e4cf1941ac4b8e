"""Generator and training scripts of the embedded model; not installed into Slicer."""
