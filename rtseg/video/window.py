"""The window: the painted picture on the screen, and keys."""

from __future__ import annotations

import os
import sys

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.errors import OutputError

KEYS = {
    "q": "quit", "\x1b": "quit", " ": "pause", "n": "step", "o": "overlay",
    "+": "more", "=": "more", "-": "less", "c": "contours", "h": "hud", "s": "snapshot", "r": "record",
}  # fmt: skip
"""Key → command."""

HELP = (
    "q or Esc quit, space pause, n step, o overlay, + and - opacity, c contours, h text, "
    "s snapshot, r record"
)


class Window:
    """One resizable window; used on the main thread only, as the window systems want it."""

    def __init__(self, title: str) -> None:
        linux = sys.platform.startswith("linux")
        if linux and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            # Qt would end the whole process.
            raise OutputError("no display to open a window on: use --headless, --record or --masks")
        if "GUI:                           NONE" in cv2.getBuildInformation():
            raise OutputError(
                "this OpenCV has no windows (opencv-python-headless lies over opencv-python): "
                "pip install --force-reinstall --no-deps opencv-python, or use --headless"
            )
        self._title = title
        try:
            cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        except cv2.error as error:
            raise OutputError(f"cannot open a window: {error.err}: use --headless") from error
        self._sized = False

    def show(self, picture: NDArray[np.uint8]) -> None:
        """Show (H, W, 3) uint8 BGR; the window takes the first picture's size, up to 1280 wide."""
        if not self._sized:
            height, width = picture.shape[:2]
            scale = min(1.0, 1280 / width)
            cv2.resizeWindow(self._title, round(width * scale), round(height * scale))
            self._sized = True
        cv2.imshow(self._title, picture)

    def command(self, wait_ms: int = 0) -> str | None:
        """Return the command of a key that was pressed, ``quit`` if the window was closed."""
        key = cv2.waitKey(wait_ms) if wait_ms else cv2.pollKey()
        if cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1:
            return "quit"
        return KEYS.get(chr(key & 0xFF)) if key >= 0 else None

    def close(self) -> None:
        """Close the window."""
        cv2.destroyAllWindows()
