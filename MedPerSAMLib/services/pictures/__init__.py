"""Pictures of results, drawn with NumPy alone: Slicer has no plotting package to rely on."""
