"""The frozen promptable model: segment-anything's own classes, our loading, batching and small encoders."""
