"""Mask, point and box prompts made from a soft mask of the structure in a frame."""
