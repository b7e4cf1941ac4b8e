"""Fits and profiles: learned parts as files, and the work of fitting and applying them."""
