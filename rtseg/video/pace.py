"""Playing a file at its own pace: a clock that frames wait for."""

from __future__ import annotations

import threading

from rtseg.video.frame import now


class Pace:
    """Makes frame ``n`` wait until ``n / fps`` seconds after the first. :meth:`stop` wakes a waiter.

    A reader that is late does not wait and does not lose the beat: the next frames come at the
    times they would have come at, as from a camera.
    """

    def __init__(self, fps: float) -> None:
        self._period = 1e9 / fps
        self._start: int | None = None
        self._count = 0
        self._stopped = threading.Event()

    def wait(self) -> None:
        """Wait for the next frame's time."""
        if self._start is None:
            self._start = now()
        left = self._start + self._count * self._period - now()
        self._count += 1
        if left > 0:
            self._stopped.wait(left / 1e9)

    def stop(self) -> None:
        """Let every waiter go, now and later."""
        self._stopped.set()
