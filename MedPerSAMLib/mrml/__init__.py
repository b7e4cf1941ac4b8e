"""Floor 3: Slicer's nodes and the presenter; VTK and MRML, no Qt."""
