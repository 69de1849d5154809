"""What the keys do: quit, pause, step, overlay, opacity, contours, text, snapshot, record."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.atomic import write_atomically
from rtseg.errors import OutputError
from rtseg.video.overlay import Painter
from rtseg.video.sinks import Recording
from rtseg.video.window import Window
from rtseg.video.writing import Writing

_STEP = 0.05


def _stamp() -> str:
    return time.strftime("rtseg-%Y%m%d-%H%M%S")


class Controls:
    """The window, and the state that its keys change.

    ``overlay`` and ``hud`` say whether to paint and to write text. Snapshots and recordings go to
    ``folder``; ``say`` gets a line for each.
    """

    def __init__(
        self,
        window: Window,
        *,
        folder: Path,
        fps: float | None,
        hud: bool = True,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.window = window
        self.overlay = True
        self.hud = hud
        self.paused = False
        self._folder = folder
        self._fps = fps
        self._say = say
        self._recording: Recording | None = None

    def hold(self, shown: NDArray[np.uint8] | None, writing: Writing, painter: Painter) -> bool:
        """Do what keys ask, staying here while the user has paused; True when they quit.

        ``shown`` is the picture on the screen, for snapshots; None while there is none.
        """
        command = self.window.command()
        while True:
            if command == "quit":
                return True
            if command == "pause":
                self.paused = not self.paused
            elif command == "step":
                self.paused = True
                return False
            elif command is not None:
                self._do(command, shown, writing, painter)
            if not self.paused:
                return False
            command = self.window.command(wait_ms=30)

    def _do(
        self,
        command: str,
        shown: NDArray[np.uint8] | None,
        writing: Writing,
        painter: Painter,
    ) -> None:
        if command == "overlay":
            self.overlay = not self.overlay
        elif command == "contours":
            painter.contours = not painter.contours
        elif command == "hud":
            self.hud = not self.hud
        elif command in ("more", "less"):
            change = _STEP if command == "more" else -_STEP
            painter.opacity = min(1.0, max(0.0, round(painter.opacity + change, 2)))
        else:
            try:
                if command == "snapshot":
                    self._snapshot(shown)
                else:
                    self._record(writing)
            except OutputError as error:  # a full disk must not end a live view
                self._say(str(error))

    def _snapshot(self, shown: NDArray[np.uint8] | None) -> None:
        if shown is None:
            return
        path = self._folder / f"{_stamp()}.png"
        done, png = cv2.imencode(".png", shown)
        if done:
            write_atomically(path, png.tobytes())
            self._say(f"{path}: snapshot written")

    def _record(self, writing: Writing) -> None:
        if self._recording is not None:
            self._say(f"{self._recording.path}: recording ended")
            writing.put(self._recording)
            self._recording = None
            return
        self._recording = Recording(self._folder / f"{_stamp()}.mp4", self._fps)
        self._say(f"{self._recording.path}: recording")
        writing.put(self._recording)
