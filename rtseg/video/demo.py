"""The rendered drive as a source: needs no download, and knows the truth of every frame."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from rtseg.data.drive import Drive
from rtseg.data.labels import CAMVID11, ClassTable, covers, drive_table
from rtseg.errors import UsageError
from rtseg.video.frame import LiveFrame, now
from rtseg.video.pace import Pace
from rtseg.video.sources import Source


class DemoSource(Source):
    """A seeded drive without end, (width, height) pixels at ``fps`` frames a second."""

    kind = "demo"

    def __init__(
        self,
        size: tuple[int, int],
        fps: float,
        seed: int,
        classes: Sequence[str],
        *,
        realtime: bool = False,
    ) -> None:
        super().__init__()
        self.name = "demo"
        try:
            self._drive = Drive(*size, fps=fps, seed=seed)
        except ValueError as error:
            raise UsageError(f"demo: {error}") from error
        self.fps = fps
        self.live = realtime
        self._pace = Pace(fps) if realtime else None
        self._next = 0
        table = ClassTable(tuple(classes), ((0, 0, 0),) * len(classes))
        self._table = drive_table(table)
        self.truth = covers(CAMVID11, table)
        self._mask = np.empty((size[1], size[0]), np.uint8)
        self._shape = (size[1], size[0], 3)

    def read(self, frame: LiveFrame) -> bool:
        if self._pace is not None:
            self._pace.wait()
        if frame.picture.shape != self._shape:
            frame.picture = np.empty(self._shape, np.uint8)
            frame.truth = np.empty(self._shape[:2], np.uint8)
        start = now()
        self._drive.frame(self._next, frame.picture, self._mask)
        # What a renderer hands over is new when it is done, as a camera's frame when it arrives.
        frame.captured = now()
        frame.decode = frame.captured - start
        if self.truth:
            cv2.LUT(self._mask, self._table, dst=frame.truth)
        frame.has_truth = self.truth
        frame.name = ""
        self._next += 1
        return True

    def skip(self, count: int) -> None:
        self._next = count

    def stop(self) -> None:
        if self._pace is not None:
            self._pace.stop()
