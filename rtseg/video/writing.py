"""The writing thread: encodes and stores finished frames, off the way of the next ones."""

from __future__ import annotations

import contextlib
import threading

import cv2

from rtseg.errors import OutputError
from rtseg.video.frame import LiveFrame, now
from rtseg.video.handover import Closed, Handover
from rtseg.video.sinks import Sink
from rtseg.video.timing import Durations

_WAITING = 2
HELD = _WAITING + 1
"""Frames that may be on their way to the sinks at once."""


class Writing:
    """Runs sinks on a thread of their own; frames go back to ``free`` when all have taken them.

    The ``sinks`` given here are what the run is for: the first that fails ends it. Sinks that are
    added later are extras: one that fails is closed, named in ``notes``, and left out.
    """

    def __init__(self, sinks: list[Sink], free: Handover[LiveFrame]) -> None:
        self.durations = Durations()
        self.notes: list[str] = []
        """What the sinks have to say, a line each; drained by the thread that shows."""
        self._sinks = list(sinks)
        self._extras: list[Sink] = []
        self._wanted = len(sinks)  # sinks, as the thread that puts knows it
        self._free = free
        self._queue: Handover[LiveFrame | tuple[Sink, bool]] = Handover(_WAITING)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="rtseg-writing", daemon=True)

    def start(self) -> None:
        """Start writing."""
        self._thread.start()

    def put(self, frame: LiveFrame) -> None:
        """Write a frame. Waits while the sinks are behind; raises the error one has failed with."""
        if not self._wanted:
            with contextlib.suppress(Closed):
                self._free.put(frame)
            return
        self._put(frame)

    def add(self, sink: Sink) -> None:
        """Give the frames from here on to ``sink`` too."""
        self._wanted += 1
        self._put((sink, True))

    def remove(self, sink: Sink) -> None:
        """Close a sink that was added, after the frames so far."""
        self._wanted -= 1
        self._put((sink, False))

    def close(self) -> None:
        """Write what is waiting and close every sink; raises the error that a sink failed with."""
        self._queue.close()
        if self._thread.ident is not None:
            self._thread.join()
        self._raise()

    def _put(self, item: LiveFrame | tuple[Sink, bool]) -> None:
        try:
            self._queue.put(item)
        except Closed:
            self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _run(self) -> None:
        try:
            while True:
                item = self._queue.take()
                assert item is not None
                if isinstance(item, LiveFrame):
                    self._write(item)
                    with contextlib.suppress(Closed):  # after the capture's end the rest is written
                        self._free.put(item)
                    continue
                sink, wanted = item
                if wanted:
                    self._extras.append(sink)
                elif sink in self._extras:  # not if it has failed
                    self._leave_out(sink)
        except Closed:
            pass
        except BaseException as error:
            self._error = error
            self._queue.close()
        for sink in self._extras[:]:
            self._leave_out(sink)
        for sink in self._sinks:
            try:
                sink.close()
            except Exception as error:
                self._error = self._error or error

    def _write(self, frame: LiveFrame) -> None:
        start = now()
        for sink in self._sinks:
            try:
                sink.write(frame)
            except cv2.error as error:
                raise OutputError(f"a frame cannot be written: OpenCV: {error.err}") from error
            self.notes += sink.take_notes()
        for sink in self._extras[:]:
            try:
                sink.write(frame)
            except (OutputError, OSError, cv2.error) as error:
                self.notes.append(str(error))
                self._leave_out(sink)
            self.notes += sink.take_notes()
        if self._sinks or self._extras:
            self.durations.add(now() - start)

    def _leave_out(self, sink: Sink) -> None:
        self._extras.remove(sink)
        try:
            sink.close()
        except (OutputError, OSError) as error:
            self.notes.append(str(error))
