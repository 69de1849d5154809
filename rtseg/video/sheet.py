"""The contact sheet: a run at one glance, as one PNG."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.atomic import require_writable, write_atomically
from rtseg.errors import OutputError, UsageError
from rtseg.video.frame import LiveFrame
from rtseg.video.sinks import Sink

COLUMNS, ROWS = 3, 4
_WIDTH = 480
_GAP = 6


class ContactSheet(Sink):
    """Twelve painted pictures, evenly spread over a run of any length, three in a row.

    Nobody knows how long a run will be, so every ``step``-th picture is kept, and whenever there
    are twice as many as needed every second one is dropped and the step doubled: memory stays flat.
    """

    def __init__(self, path: Path) -> None:
        if path.suffix.lower() != ".png":
            raise UsageError(f"{path}: a contact sheet is a file that ends in .png")
        require_writable(path)
        self.path = path
        self._step = 1
        self._seen = 0
        self._kept: list[NDArray[np.uint8]] = []
        self._closed = False

    def write(self, frame: LiveFrame) -> None:
        """Keep the picture, small, if its turn has come."""
        if self._seen % self._step == 0:
            height, width = frame.picture.shape[:2]
            size = (_WIDTH, max(1, round(height * _WIDTH / width)))
            small = cv2.resize(frame.picture, size, interpolation=cv2.INTER_AREA)
            self._kept.append(small.astype(np.uint8, copy=False))
            if len(self._kept) == 2 * COLUMNS * ROWS:
                del self._kept[1::2]
                self._step *= 2
        self._seen += 1

    def close(self) -> None:
        """Put the pictures together and write the sheet; nothing is written without pictures."""
        if self._closed or not self._kept:
            return
        self._closed = True
        count = min(len(self._kept), COLUMNS * ROWS)
        chosen = [self._kept[round(i)] for i in np.linspace(0, len(self._kept) - 1, count)]
        columns = min(count, COLUMNS)
        rows = -(-count // columns)
        cell = max(picture.shape[0] for picture in chosen)  # pictures may differ in shape
        sheet = np.full(
            (rows * (cell + _GAP) + _GAP, columns * (_WIDTH + _GAP) + _GAP, 3), 255, np.uint8
        )
        for i, picture in enumerate(chosen):
            y = _GAP + i // columns * (cell + _GAP)
            x = _GAP + i % columns * (_WIDTH + _GAP)
            sheet[y : y + picture.shape[0], x : x + _WIDTH] = picture
        done, png = cv2.imencode(".png", sheet)
        if not done:
            raise OutputError(f"{self.path}: this sheet cannot be encoded")
        write_atomically(self.path, png.tobytes())
