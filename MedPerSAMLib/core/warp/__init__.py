"""The warping model: network, losses, tuning on one case, and the fields between a volume's neighbouring slices."""
