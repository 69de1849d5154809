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
from rtseg.video.frame import now
from rtseg.video.overlay import Painter
from rtseg.video.sinks import Recording
from rtseg.video.window import Window
from rtseg.video.writing import Writing

_STEP = 0.05


def _stamp() -> str:
    clock = time.time()
    return f"{time.strftime('rtseg-%Y%m%d-%H%M%S', time.localtime(clock))}-{int(clock * 1000) % 1000:03d}"


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
        self.held = 0
        """How long the last :meth:`hold` kept the frame for the user, nanoseconds."""
        self._folder = folder
        self._fps = fps
        self._say = say
        self._recording: Recording | None = None

    def hold(
        self,
        shown: NDArray[np.uint8] | None,
        writing: Writing,
        painter: Painter,
        again: Callable[[], None] = lambda: None,
    ) -> bool:
        """Do what keys ask, staying here while the user has paused; True when they quit.

        ``shown`` is the picture on the screen, and ``again`` paints it anew after a key that
        changes it; None while there is none: then nothing is held.
        """
        self.held = 0
        since = now() if self.paused else 0
        command = self.window.command()
        while True:
            if command == "quit":
                return True
            if command == "pause":
                self.paused = not self.paused
                since = since or now()
            elif command == "step":
                self.paused = True
                break
            elif command is not None and self._do(command, shown, writing, painter):
                again()
            if not self.paused or shown is None:
                break
            command = self.window.command(wait_ms=30)
        self.held = now() - since if since else 0
        return False

    def _do(
        self,
        command: str,
        shown: NDArray[np.uint8] | None,
        writing: Writing,
        painter: Painter,
    ) -> bool:
        """Do it; True if the picture now looks different."""
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
            return False
        return shown is not None

    def _snapshot(self, shown: NDArray[np.uint8] | None) -> None:
        if shown is None:
            self._say("no picture to take a snapshot of yet")
            return
        path = self._folder / f"{_stamp()}.png"
        done, png = cv2.imencode(".png", shown)
        if done:
            write_atomically(path, png.tobytes())
            self._say(f"{path}: snapshot written")

    def _record(self, writing: Writing) -> None:
        recording, self._recording = self._recording, None
        if recording is not None:
            writing.remove(recording)
            if not recording.failed:  # if it has, that is said, and the key begins a new one
                self._say(f"{recording.path}: recording ended")
                return
        recording = Recording(self._folder / f"{_stamp()}.mp4", self._fps)
        writing.add(recording)
        self._recording = recording
        self._say(f"{recording.path}: recording")
