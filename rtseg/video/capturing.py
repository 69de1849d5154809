"""The capture thread: reads the source, shrinks each picture for the network, hands it over."""

from __future__ import annotations

import threading

import cv2

from rtseg.video.frame import LiveFrame, now
from rtseg.video.handover import Closed, Handover
from rtseg.video.sources import Source


class Capturing:
    """Runs a source on a thread of its own.

    Frames come out of :attr:`ready`: every one, in order, where the source can wait, and only the
    newest of a live source, with ``dropped`` counting the others. Buffers come from, and go back
    to, :attr:`free`, of which there must be enough for everybody who holds one.
    """

    def __init__(self, source: Source, frames: list[LiveFrame], *, loop: bool, start: int) -> None:
        self.source = source
        self.ready: Handover[LiveFrame] = Handover(1 if source.live else 2, newest=source.live)
        self.free: Handover[LiveFrame] = Handover(len(frames))
        for frame in frames:
            self.free.put(frame)
        self.dropped = 0
        self._loop = loop
        self._index = start
        self._thread = threading.Thread(target=self._run, name="rtseg-capture", daemon=True)

    def start(self) -> None:
        """Start reading."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reading. A device that hangs in a read is left behind after two seconds."""
        self.source.stop()
        self.free.close()
        self.ready.close()
        self._thread.join(2.0)

    def _read(self, frame: LiveFrame) -> bool:
        if self.source.read(frame):
            return True
        return self._loop and self.source.rewind() and self.source.read(frame)

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            while True:
                frame = self.free.take()
                assert frame is not None
                if not self._read(frame):
                    break
                frame.index = self._index
                self._index += 1
                start = now()
                height, width = frame.small.shape[:2]
                cv2.resize(frame.picture, (width, height), dst=frame.small)
                frame.resize = now() - start
                displaced = self.ready.put(frame)
                if displaced is not None:
                    self.dropped += 1
                    self.free.put(displaced)
        except Closed:
            pass
        except BaseException as caught:
            error = caught
        finally:
            self.source.close()
            self.ready.close(error)
