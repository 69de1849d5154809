"""Keeping C libraries off the terminal: what rtseg has to say stands alone there."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import cv2

TERMINAL = threading.RLock()
"""Held by whoever writes to standard error, so that no line is lost while it is set aside."""


def quiet_opencv() -> None:
    """Let neither OpenCV nor its FFmpeg write to standard error."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    # OpenCV 5 has the module cv2.utils.logging, OpenCV 4 the function; 0 is silent in both.
    getattr(cv2.utils, "logging", cv2).setLogLevel(0)


class Aside:
    """Sets standard error aside, below Python, while a C library that cannot be told to is at work.

    libjpeg and libpng write there what is wrong with a file; :meth:`text` tells it.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  as long as this object

    @contextmanager
    def set(self) -> Iterator[None]:
        """Standard error goes aside within this context."""
        with TERMINAL:
            try:
                terminal = os.dup(2)
            except OSError:  # standard error is closed
                yield
                return
            os.dup2(self._file.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(terminal, 2)
                os.close(terminal)

    def text(self) -> str:
        """What was written aside since the last call."""
        if not self._file.tell():
            return ""
        self._file.seek(0)
        text = self._file.read().decode(errors="replace")
        self._file.seek(0)
        self._file.truncate()
        return text
