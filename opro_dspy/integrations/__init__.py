"""Experiment trackers as observers, each behind an extra."""
