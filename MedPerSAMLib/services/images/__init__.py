"""Image files in and out, by SimpleITK: volumes, reference masks, segmentations and 2D pictures."""
