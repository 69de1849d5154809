"""The live loop: capture, inference, painting and writing, overlapping, on one clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.engine import Engine
from rtseg.evaluation import ConfusionMatrix
from rtseg.video.capturing import Capturing
from rtseg.video.controls import Controls
from rtseg.video.frame import LiveFrame, now
from rtseg.video.handover import Closed
from rtseg.video.hud import HeadUpDisplay
from rtseg.video.overlay import Painter
from rtseg.video.report import Readout, Report
from rtseg.video.segmenting import Segmenting
from rtseg.video.sinks import Sink
from rtseg.video.sources import Source
from rtseg.video.writing import HELD, Writing

_WAKE_S = 0.05
_SILENCE = 1_000_000_000


class LiveLoop:
    """Takes every frame of ``source`` through ``engine``, paints it, and gives it to the outputs.

    The engine always has as many frames as keep it busy. The calling thread feeds it, paints and
    shows; capturing and writing have threads of their own. ``limit`` ends the run after so many
    frames, ``on_frame`` is called after each with the number done. :meth:`stop` may be called from
    a signal handler: every output is closed with the frames that it has.
    """

    def __init__(
        self,
        engine: Engine,
        source: Source,
        painter: Painter,
        *,
        sinks: list[Sink] | None = None,
        controls: Controls | None = None,
        hud: bool = True,
        limit: int | None = None,
        start: int = 0,
        loop: bool = False,
        on_frame: Callable[[int], None] | None = None,
    ) -> None:
        self.report = Report()
        if source.truth:
            self.report.matrix = ConfusionMatrix(len(engine.spec.classes))
        self._engine = engine
        self._source = source
        self._painter = painter
        self._controls = controls
        self._hud = HeadUpDisplay()
        self._with_hud = hud
        self._readout = Readout(engine, self.report)
        self._limit = limit
        self._on_frame = on_frame
        self._stop = False
        spec = engine.spec
        # Held at once: by the engine, ready, being captured, being painted, on the way to the sinks.
        held = engine.depth + 2 + 1 + 1 + HELD
        self._frames = [
            LiveFrame(
                np.empty((spec.height, spec.width, 3), np.uint8),
                np.empty((spec.mask_height, spec.mask_width), np.uint8),
            )
            for _ in range(held)
        ]
        self._capturing = Capturing(source, self._frames, loop=loop, start=start, limit=limit)
        self._writing = Writing(sinks or [], self._capturing.free)
        self.report.stages["write"] = self._writing.durations
        self._segmenting = Segmenting(engine, painter, repaints=controls is not None)
        self._flying: deque[LiveFrame] = deque()
        self._next: LiveFrame | None = None  # of another size than those in flight
        self._taken = 0
        self._ended = False
        self._error: Exception | None = None
        self._scaled: NDArray[np.uint8] = np.empty((0, 0), np.uint8)
        self._last_frame = 0
        self._started = 0
        self._resumed = 0

    def stop(self) -> None:
        """End the run after the frame at hand."""
        self._stop = True
        self.report.interrupted = True

    def take_notes(self) -> list[str]:
        """What source and outputs have said since the last call, a line each."""
        found: list[str] = []
        for notes in (self._source.notes, self._writing.notes):
            while notes:
                found.append(notes.pop(0))
        return found

    def run(self) -> Report:
        """Run to the end of the source, the limit, :meth:`stop`, or the user's quitting.

        Whatever happens, the outputs are closed. Errors of the source, the engine and the outputs
        are raised after that; the frames before them are done, and in ``report``.
        """
        # The engine has the cores: OpenCV's own threads would only get in its way.
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        try:
            self._started = now()
            self._writing.start()
            self._capturing.start()
            try:
                self._loop()
            finally:
                self._capturing.stop()
                self._segmenting.drain()
                self.report.dropped = self._capturing.dropped
                try:
                    self._writing.close()
                finally:
                    self._segmenting.close(self._frames)
        finally:
            cv2.setNumThreads(threads)
        return self.report

    def _loop(self) -> None:
        while not self._stop:
            self._feed(wait=not self._flying)
            if self._flying:
                frame = self._flying.popleft()
                self._segmenting.collect(frame)
                if frame.submitted >= self._resumed:
                    self.report.stages["infer"].add(now() - frame.submitted)
                # The stream that has just become free gets its next frame before this one is painted.
                self._feed(wait=False)
                self._finish(frame)
            elif self._ended:
                break
            elif self._controls is not None:
                self._wait_visibly(self._controls)
        if self._error is not None:
            raise self._error

    def _feed(self, *, wait: bool) -> None:
        """Submit what is ready, as much as the engine takes; wait a moment for it if asked to."""
        while self._segmenting.has_room:
            frame, self._next = self._next or self._take(wait=wait), None
            if frame is None:
                return
            wait = False
            if not self._segmenting.takes(frame):
                self._next = frame
                return
            self._capturing.shrinks = self._segmenting.on_host
            frame.submitted = now()
            self._segmenting.submit(frame, overlay=self._overlay)
            self._flying.append(frame)

    def _take(self, *, wait: bool) -> LiveFrame | None:
        """Take the next frame that is ready, if there is one; at the end there is none."""
        if self._ended or self._taken == self._limit:
            self._ended = True
            return None
        try:
            frame = self._capturing.ready.take(_WAKE_S if wait else 0)
        except Closed:
            self._ended = True
            return None
        except Exception as error:  # the source's; what is in flight is finished first
            self._error = error
            self._ended = True
            return None
        if frame is not None:
            self._taken += 1
        return frame

    @property
    def _overlay(self) -> bool:
        return self._controls is None or self._controls.overlay

    def _finish(self, frame: LiveFrame) -> None:
        report, stages, controls = self.report, self.report.stages, self._controls
        stages["decode"].add(frame.decode)
        if frame.shrunk:
            stages["resize"].add(frame.resize)
        clock = now()
        if frame.has_truth and report.matrix is not None:
            self._score(frame, report.matrix)
            clock = self._lap("score", clock)
        self._segmenting.paint(frame, overlay=self._overlay)
        if self._overlay:
            clock = self._lap("paint", clock)
        if self._with_hud if controls is None else controls.hud:
            lines = self._readout.lines(clock, self._capturing.dropped)
            self._hud.draw(frame.picture, lines)
            clock = self._lap("hud", clock)
        if controls is not None:
            controls.window.show(frame.picture)
            clock = self._lap("show", clock)
            report.displayed.tick(clock)
        self._last_frame = clock
        if frame.captured >= self._resumed:  # not what has waited for the user
            stages["capture_to_display"].add(clock - frame.captured)
        report.processed.tick(clock)
        if not report.first_frame_ns:
            report.first_frame_ns = clock
        if self._on_frame is not None:
            self._on_frame(report.processed.count)
        if controls is not None:
            self._hold(frame, controls)
        # An error of a sink comes up here, at the next frame at the latest.
        self._writing.put(frame)

    def _hold(self, frame: LiveFrame, controls: Controls) -> None:
        """Answer keys. While the user has paused, the frame and its buffers stay here."""
        if controls.hold(
            frame.picture, self._writing, self._painter, lambda: self._paint_again(frame, controls)
        ):
            self._stop = True
        if controls.held:
            self._resumed = now()
            self.report.processed.leave_out(controls.held)
            self.report.displayed.leave_out(controls.held)
            self._readout.leave_out(controls.held)

    def _paint_again(self, frame: LiveFrame, controls: Controls) -> None:
        """A key that changes the picture is seen at once, in a pause too."""
        self._segmenting.paint_again(frame, overlay=controls.overlay)
        if controls.hud:
            self._hud.draw(frame.picture, self._readout.latest)
        controls.window.show(frame.picture)

    def _wait_visibly(self, controls: Controls) -> None:
        """Nothing has come for a moment: answer keys, and do not let an old frame pass for new."""
        silent = now() - max(self._last_frame, self._started)
        if silent > _SILENCE and self._source.live:
            controls.window.show(self._waiting_picture(silent), own_size=False)
        if controls.hold(None, self._writing, self._painter):
            self._stop = True

    def _waiting_picture(self, silent: int) -> NDArray[np.uint8]:
        picture = np.zeros((360, 640, 3), np.uint8)
        HeadUpDisplay().draw(
            picture, [f"no frames from {self._source.name} for {silent / 1e9:.0f} s"]
        )
        return picture

    def _lap(self, stage: str, since: int) -> int:
        clock = now()
        self.report.stages[stage].add(clock - since)
        return clock

    def _score(self, frame: LiveFrame, matrix: ConfusionMatrix) -> None:
        height, width = frame.truth.shape
        if self._scaled.shape != (height, width):
            self._scaled = np.empty((height, width), np.uint8)
        cv2.resize(
            frame.mask, (width, height), dst=self._scaled, interpolation=cv2.INTER_NEAREST_EXACT
        )
        matrix.add(frame.truth, self._scaled)
        self.report.scored += 1
