"""The rendered drive: a seeded, endless road video with the exact mask of every frame."""

from rtseg.data.drive.classes import CLASS_NAMES, DriveClass
from rtseg.data.drive.scene import Drive

HELD_OUT_FRAMES = tuple((seed, index) for seed in range(0, 40, 2) for index in (37, 611, 1511))
"""Frames (seed, index) to score on, at 30 FPS. Seeds below 100 are nobody's training data."""

__all__ = ["CLASS_NAMES", "HELD_OUT_FRAMES", "Drive", "DriveClass"]
