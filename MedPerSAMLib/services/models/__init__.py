"""Models: which there are (registry), where they lie (store), how they get there (download) and into memory (load)."""
