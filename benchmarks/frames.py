"""Frames to measure on: the rendered drive, in memory or as an H.264 file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SEED = 4
FPS = 30.0


def rendered(width: int, height: int, count: int) -> list[NDArray[np.uint8]]:
    """Render ``count`` frames (height, width, 3) uint8 BGR, a second apart, of one drive."""
    from rtseg.data.drive import Drive

    # Drives are not drawn smaller than 64 pixels a side.
    drive = Drive(max(64, width), max(64, height), fps=1.0, seed=SEED)
    return [np.ascontiguousarray(drive.frame(index)[0][:height, :width]) for index in range(count)]


def record_drive(path: Path, width: int, height: int, count: int) -> Path:
    """Write ``count`` frames of the rendered drive as an H.264 file at 30 FPS; returns its path."""
    from rtseg.data.drive import Drive
    from rtseg.video.frame import LiveFrame
    from rtseg.video.sinks import Recording

    drive = Drive(width, height, fps=FPS, seed=SEED)
    unused = np.empty((0, 0), np.uint8)
    frame = LiveFrame(unused, unused, np.empty((height, width, 3), np.uint8))
    labels = np.empty((height, width), np.uint8)
    recording = Recording(path, FPS)
    for index in range(count):
        drive.frame(index, frame.picture, labels)
        recording.write(frame)
    recording.close()
    return path
