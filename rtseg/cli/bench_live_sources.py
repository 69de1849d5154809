"""What ``rtseg-bench live`` puts around the live loop: sources as cameras, a screen, a log."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rtseg.data.drive import Drive
from rtseg.data.labels import CAMVID11, ClassTable, covers, drive_table
from rtseg.video.frame import EMPTY, LiveFrame, now
from rtseg.video.pace import Pace
from rtseg.video.sinks import Sink
from rtseg.video.sources import Source
from rtseg.video.window import Window

_BUDGET = 384 << 20  # bytes of rendered frames and masks that are kept in memory
_MOST = 300  # frames: rendering takes a while
_SEED = 4


class Reel:
    """Frames of the rendered drive, with their masks, that lie in memory: no camera renders.

    Where these are more than there is room for, or 300, they are played forwards, backwards, and so
    on: the motion never jumps. ``frames`` is how many will be wanted at ``fps``.
    """

    def __init__(self, size: tuple[int, int], fps: float, frames: int) -> None:
        width, height = size
        count = max(2, min(frames, _MOST, _BUDGET // (width * height * 4)))
        drive = Drive(width, height, fps=fps, seed=_SEED)
        rendered = [drive.frame(index) for index in range(count)]
        self.fps = fps
        self.pictures = [picture for picture, _ in rendered]
        self.masks = [mask for _, mask in rendered]

    def place(self, index: int) -> int:
        """Return which of the frames is shown as frame ``index``."""
        turn = 2 * len(self.pictures) - 2
        at = index % turn
        return min(at, turn - at)

    def truth_table(self, classes: ClassTable) -> NDArray[np.uint8] | None:
        """(256,) uint8 from the masks to a network's classes; None where they do not know them."""
        return drive_table(classes) if covers(CAMVID11, classes) else None


class ReelSource(Source):
    """A :class:`Reel` as a source without end."""

    kind = "demo"

    def __init__(self, reel: Reel) -> None:
        super().__init__()
        self.name = "demo"
        self.fps = reel.fps
        self._reel = reel
        self._next = 0

    def read(self, frame: LiveFrame) -> bool:
        """See :meth:`Source.read`. What is copied is the loop's to paint on."""
        frame.captured = now()
        picture = self._reel.pictures[self._reel.place(self._next)]
        if frame.picture.shape != picture.shape:
            frame.picture = np.empty_like(picture)
        np.copyto(frame.picture, picture)
        frame.decode = now() - frame.captured
        frame.has_truth = False  # scored after the run: that is no part of the loop
        frame.name = ""
        self._next += 1
        return True

    def skip(self, count: int) -> None:
        """Pass over the first frames."""
        self._next = count


class AsCamera(Source):
    """Plays any source as a camera would: in its own time, whether the loop keeps up or not.

    A source that waits is given ``fps`` frames a second and begun again at its end; a camera or
    stream has its own pace. It ends after ``frames`` frames or ``seconds``. ``arrived`` has the
    time of each frame.
    """

    live = True

    def __init__(self, inner: Source, fps: float, frames: int, seconds: float) -> None:
        super().__init__()
        self.kind = inner.kind
        self.name = inner.name
        self.notes = inner.notes
        self.fps = fps
        self.arrived: list[int] = []
        self._inner = inner
        self._pace = None if inner.live else Pace(fps)
        self._frames = frames
        self._nanoseconds = seconds * 1e9

    def read(self, frame: LiveFrame) -> bool:
        """See :meth:`Source.read`."""
        if len(self.arrived) >= self._frames:
            return False
        if self._pace is not None:
            self._pace.wait()
        elif self.arrived and now() - self.arrived[0] >= self._nanoseconds:
            return False
        inner = self._inner
        if not inner.read(frame) and not (inner.rewind() and inner.read(frame)):
            return False
        self.arrived.append(frame.captured)
        self.failures = inner.failures
        return True

    def skip(self, count: int) -> None:
        """Pass over the first frames."""
        self._inner.skip(count)

    def stop(self) -> None:
        """See :meth:`Source.stop`."""
        if self._pace is not None:
            self._pace.stop()
        self._inner.stop()

    def close(self) -> None:
        """See :meth:`Source.close`."""
        self._inner.close()


class Screen(Window):
    """A screen in memory: takes pictures as a window does, by a copy, and has no keys."""

    def __init__(self) -> None:
        self.title = ""
        self._picture: NDArray[np.uint8] = EMPTY

    def show(self, picture: NDArray[np.uint8], *, own_size: bool = True) -> None:
        """Take (H, W, 3) uint8 BGR."""
        if self._picture.shape != picture.shape:
            self._picture = np.empty_like(picture)
        np.copyto(self._picture, picture)

    def command(self, wait_ms: int = 0) -> str | None:
        """Nobody presses keys."""
        return None

    def close(self) -> None:
        """Nothing is open."""


class Log(Sink):
    """Notes each finished frame: its index, when it was captured, and its mask if wanted.

    :meth:`shown` is for the loop's ``on_frame``, which comes for the same frames in the same order.
    """

    def __init__(self, *, masks: bool) -> None:
        self.indices: list[int] = []
        self.captured: list[int] = []
        self.at: list[int] = []
        self.masks: list[NDArray[np.uint8]] = []
        self._keep = masks

    def shown(self, done: int) -> None:
        """Note that the next frame is on the screen."""
        self.at.append(now())

    def write(self, frame: LiveFrame) -> None:
        """Note a frame."""
        self.indices.append(frame.index)
        self.captured.append(frame.captured)
        if self._keep:
            self.masks.append(frame.mask.copy())

    def close(self) -> None:
        """Nothing is open."""
