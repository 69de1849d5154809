"""``rtseg.Camera``: frames in a for loop, the newest one each time."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from rtseg.video.capturing import Capturing
from rtseg.video.frame import LiveFrame
from rtseg.video.handover import Closed
from rtseg.video.sources import open_source


class Camera:
    """The frames of a camera (its number), or of anything that ``rtseg-live`` takes as a source.

    Iterating gives pictures (H, W, 3) uint8 BGR: of a camera or stream the newest there is, of a
    file every one. A picture is yours until the next one is asked for; copy it to keep it longer.
    ``InputError`` when the source cannot be opened or fails.
    """

    def __init__(
        self, source: int | str, *, size: tuple[int, int] | None = None, fps: float | None = None
    ) -> None:
        opened = open_source(str(source), size=size, fps=fps)
        self.name = opened.name
        self.fps = opened.fps
        frames = [
            LiveFrame(np.empty((2, 2, 3), np.uint8), np.empty((0, 0), np.uint8)) for _ in range(4)
        ]
        self._capturing = Capturing(opened, frames)
        self._capturing.start()
        self._held: LiveFrame | None = None

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        return self

    def __next__(self) -> NDArray[np.uint8]:
        try:
            if self._held is not None:
                self._capturing.free.put(self._held)
                self._held = None
            self._held = self._capturing.ready.take()
        except Closed:
            raise StopIteration from None
        assert self._held is not None
        return self._held.picture

    def close(self) -> None:
        """Give the camera back."""
        self._capturing.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
