"""The painted copy of a video, made from its masks once they are all there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from rtseg.errors import InputError
from rtseg.spec import Spec
from rtseg.video.capture import FileSource
from rtseg.video.frame import LiveFrame
from rtseg.video.overlay import Painter
from rtseg.video.sinks import Recording


def paint_video(
    video: Path, masks: Path, out: Path, spec: Spec, count: int, stopped: Callable[[], bool]
) -> bool:
    """Write the first ``count`` frames of a video with their masks painted over, as H.264.

    Its own pass, since a video file cannot be gone on with: what an interruption costs is this
    pass, and not the network's. Returns whether it was finished; the file is whole or not there.
    """
    painter = Painter(spec.classes, spec.palette)
    source = FileSource(video)
    recording = Recording(out, source.fps or 30.0)
    frame = LiveFrame(np.empty((0, 0, 3), np.uint8), np.empty((0, 0), np.uint8))
    try:
        for index in range(count):
            if stopped():
                return False
            if not source.read(frame):
                break
            path = masks / f"{index:06d}.png"
            mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            if mask is None:
                raise InputError(f"{path}: this mask is gone or damaged: --again starts anew")
            painter.paint(frame.picture, mask.astype(np.uint8, copy=False))
            recording.write(frame)
        recording.close()
    finally:
        source.close()
    return True
