"""The writing thread: encodes and stores finished frames, off the way of the next ones."""

from __future__ import annotations

import contextlib
import threading

from rtseg.errors import OutputError
from rtseg.video.frame import LiveFrame, now
from rtseg.video.handover import Closed, Handover
from rtseg.video.sinks import Sink
from rtseg.video.timing import Durations

_WAITING = 2
HELD = _WAITING + 1
"""Frames that may be on their way to the sinks at once."""


class Writing:
    """Runs sinks on a thread of their own; frames go back to ``free`` when all have taken them."""

    def __init__(self, sinks: list[Sink], free: Handover[LiveFrame]) -> None:
        self.sinks = list(sinks)
        self.durations = Durations()
        self._free = free
        self._queue: Handover[LiveFrame | Sink] = Handover(_WAITING)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="rtseg-writing", daemon=True)
        self._thread.start()

    def put(self, item: LiveFrame | Sink) -> None:
        """Write a frame; or add a sink, or close it if it is already there, from here on.

        Waits while the sinks are behind. Raises the error a sink has failed with.
        """
        try:
            self._queue.put(item)
        except Closed:
            self._raise()

    def close(self) -> None:
        """Write what is waiting and close every sink; raises the error that a sink failed with."""
        self._queue.close()
        self._thread.join()
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
                if isinstance(item, Sink):
                    if item in self.sinks:
                        self.sinks.remove(item)
                        item.close()
                    else:
                        self.sinks.append(item)
                    continue
                start = now()
                for sink in self.sinks:
                    sink.write(item)
                self.durations.add(now() - start)
                with contextlib.suppress(Closed):  # after the capture's end the rest is written
                    self._free.put(item)
        except Closed:
            pass
        except BaseException as error:
            self._error = error
            self._queue.close()
        for sink in self.sinks:
            try:
                sink.close()
            except (OutputError, OSError) as error:
                self._error = self._error or error
