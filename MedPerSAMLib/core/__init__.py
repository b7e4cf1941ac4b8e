"""Floor 1: what is computed. Arrays in, arrays out; no files, no Slicer, no Qt."""
