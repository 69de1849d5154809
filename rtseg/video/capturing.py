"""The capture thread: reads the source, shrinks pictures for the network, hands them over."""

from __future__ import annotations

import threading

import cv2

from rtseg.errors import InputError
from rtseg.video.frame import LiveFrame, now
from rtseg.video.handover import Closed, Handover
from rtseg.video.sources import Source

_PATIENCE_S = 2.0  # with a device that hangs in a read


def shrink(frame: LiveFrame) -> None:
    """Shrink a frame's picture for the network, and take the time."""
    start = now()
    height, width = frame.small.shape[:2]
    cv2.resize(frame.picture, (width, height), dst=frame.small)
    frame.resize = now() - start
    frame.shrunk = True


class Capturing:
    """Runs a source on a thread of its own.

    Frames come out of :attr:`ready`: every one, in order, where the source can wait, and only the
    newest of a live source, with ``dropped`` counting the others. Buffers come from, and go back
    to, :attr:`free`, of which there must be enough for everybody who holds one.

    ``shrinks`` may be set False at any time, where the engine's device shrinks pictures by itself.

    ``start`` is the first frame's index. Of a source that can wait no more than ``limit`` frames
    are read, so that what lies behind them, damage say, is none of the run's business.
    """

    def __init__(
        self,
        source: Source,
        frames: list[LiveFrame],
        *,
        loop: bool = False,
        start: int = 0,
        limit: int | None = None,
    ) -> None:
        self.source = source
        self.ready: Handover[LiveFrame] = Handover(1 if source.live else 2, newest=source.live)
        self.free: Handover[LiveFrame] = Handover(len(frames))
        for frame in frames:
            self.free.put(frame)
        self.dropped = 0
        self.shrinks = True
        self._loop = loop
        self._index = start
        self._end = None if limit is None or source.live else start + limit
        self._thread = threading.Thread(target=self._run, name="rtseg-capture", daemon=True)

    def start(self) -> None:
        """Start reading."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reading. A device that hangs in a read is left behind after two seconds."""
        self.source.stop()
        self.free.close()
        self.ready.close()
        if self._thread.ident is None:
            self.source.close()
        else:
            self._thread.join(_PATIENCE_S)

    def _read(self, frame: LiveFrame) -> bool:
        if self.source.read(frame):
            return True
        return self._loop and self.source.rewind() and self.source.read(frame)

    def _explain(self, error: BaseException) -> BaseException:
        if isinstance(error, cv2.error):
            return InputError(f"{self.source.name}: this picture is none: OpenCV: {error.err}")
        if isinstance(error, MemoryError):
            return InputError(f"{self.source.name}: not enough memory for its pictures")
        return error

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            while self._index != self._end:
                frame = self.free.take()
                assert frame is not None
                if not self._read(frame):
                    break
                frame.index = self._index
                self._index += 1
                frame.shrunk = False
                if self.shrinks:
                    shrink(frame)
                displaced = self.ready.put(frame)
                if displaced is not None:
                    self.dropped += 1
                    self.free.put(displaced)
        except Closed:
            pass
        except BaseException as caught:
            error = self._explain(caught)
        finally:
            self.source.close()
            self.ready.close(error)
