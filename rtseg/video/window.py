"""The window: the painted picture on the screen, and keys."""

from __future__ import annotations

import ctypes
import os
import re
import sys
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.errors import OutputError
from rtseg.video.quiet import quiet_opencv

KEYS = {
    "q": "quit", "\x1b": "quit", " ": "pause", "n": "step", "o": "overlay",
    "+": "more", "=": "more", "-": "less", "c": "contours", "h": "hud", "s": "snapshot", "r": "record",
}  # fmt: skip
"""Key → command."""

_WIDE, _TALL = 1280, 720
"""A window begins no larger than this, pixels; its user may make it larger."""
_NARROW = 320


def require_display() -> None:
    """Check that a window can be opened; ``OutputError`` says why not.

    Without a display, or with one that does not answer, Qt would end the whole process.
    """
    interface = re.search(r"GUI:\s+(\S+)", cv2.getBuildInformation())
    if interface is not None and interface[1] == "NONE":
        raise OutputError(
            "this OpenCV has no windows (opencv-python-headless lies over opencv-python): "
            "pip install --force-reinstall --no-deps opencv-python, or use --headless"
        )
    if not sys.platform.startswith("linux"):
        return
    display, wayland = os.environ.get("DISPLAY"), os.environ.get("WAYLAND_DISPLAY")
    qt = interface is not None and interface[1].startswith("QT")
    # The Qt in OpenCV's wheels speaks X11 only, and would say so at length under Wayland.
    if qt and os.environ.setdefault("QT_QPA_PLATFORM", "xcb") != "xcb":
        return
    fonts = os.environ.get("QT_QPA_FONTDIR")
    if fonts and not Path(fonts).is_dir():  # cv2 names a folder that its wheels may lack
        os.environ["QT_QPA_FONTDIR"] = str(Path(cv2.__file__).parent)
    if not display and (qt or not wayland):
        raise OutputError(
            "no display to open a window on: add --headless, and --record or --masks to keep the pictures"
        )
    if qt and not _answers():
        raise OutputError(
            f"the display {display} does not answer, so there is no window: "
            "add --headless, and --record or --masks to keep the pictures"
        )


def _answers() -> bool:
    """Ask the X server as Qt will ask it, with the library that Qt will use."""
    try:
        xcb = ctypes.CDLL("libxcb.so.1")
    except OSError:
        return False
    xcb.xcb_connect.restype = ctypes.c_void_p
    connection = ctypes.c_void_p(xcb.xcb_connect(None, None))
    refused = bool(xcb.xcb_connection_has_error(connection))
    xcb.xcb_disconnect(connection)
    return not refused


class Window:
    """One resizable window; used on the main thread only, as the window systems want it.

    It opens with the first picture, under the ``title`` that it has then. ``OutputError`` here
    where no window can be opened.
    """

    def __init__(self, title: str) -> None:
        quiet_opencv()
        require_display()
        self.title = title
        self._open = False
        self._sized = False

    def show(self, picture: NDArray[np.uint8], *, own_size: bool = True) -> None:
        """Show (H, W, 3) uint8 BGR; the window opens with, and as large as, the first one.

        ``own_size`` False leaves the size to the next picture.
        """
        if self._open and not self._is_there():
            return  # showing would open it again
        if not self._open:
            try:
                # Without Qt's tool bar: the keys do it all.
                flags = cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL
                cv2.namedWindow(self.title, flags)
            except cv2.error as error:
                raise OutputError(f"cannot open a window: {error.err}: use --headless") from error
            self._open = True
        if own_size and not self._sized:
            height, width = picture.shape[:2]
            scale = max(min(1.0, _WIDE / width, _TALL / height), _NARROW / width)
            cv2.resizeWindow(self.title, round(width * scale), round(height * scale))
            self._sized = True
        cv2.imshow(self.title, picture)

    def command(self, wait_ms: int = 0) -> str | None:
        """Return the command of a key that was pressed, ``quit`` if the window was closed."""
        if not self._open:
            time.sleep(wait_ms / 1000)
            return None
        key = cv2.waitKey(wait_ms) if wait_ms else cv2.pollKey()
        if not self._is_there():
            return "quit"
        return KEYS.get(chr(key & 0xFF)) if key >= 0 else None

    def _is_there(self) -> bool:
        """Whether its user has not closed it."""
        try:
            return bool(cv2.getWindowProperty(self.title, cv2.WND_PROP_VISIBLE) >= 1)
        except cv2.error:  # what Qt says of a window that is gone
            return False

    def close(self) -> None:
        """Close the window."""
        if self._open:
            cv2.destroyAllWindows()
            self._open = False
