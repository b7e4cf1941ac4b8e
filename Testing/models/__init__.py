"""Models: registry, checkpoint files, the store, downloads, devices."""
