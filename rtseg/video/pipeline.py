"""The live loop: capture, inference, painting and writing, overlapping, on one clock."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

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
from rtseg.video.sinks import Sink
from rtseg.video.sources import Source
from rtseg.video.timing import Durations, Rate
from rtseg.video.writing import HELD, Writing

STAGES = (
    "decode",
    "resize",
    "infer",
    "score",
    "paint",
    "hud",
    "show",
    "write",
    "capture_to_display",
)
"""What is timed of every frame. ``infer`` is from submission to mask, with other frames in flight;
``capture_to_display`` from the frame's arrival to its painted picture being ready or shown."""

_HUD_EVERY = 250_000_000
_WAKE_S = 0.05
_SILENCE = 1_000_000_000


@dataclass
class Report:
    """What a run of the loop measured; grows with nothing but time."""

    stages: dict[str, Durations] = field(default_factory=lambda: {s: Durations() for s in STAGES})
    processed: Rate = field(default_factory=Rate)
    displayed: Rate = field(default_factory=Rate)
    dropped: int = 0
    interrupted: bool = False
    matrix: ConfusionMatrix | None = None
    scored: int = 0
    first_frame_ns: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; what was not measured is null."""

        def number(value: float) -> float | None:
            return None if math.isnan(value) else round(value, 4)

        accuracy: dict[str, Any] | None = None
        if self.matrix is not None and self.scored:
            accuracy = {
                "frames": self.scored,
                "miou": number(self.matrix.miou),
                "iou": [number(float(v)) for v in self.matrix.iou],
                "pixel_accuracy": number(self.matrix.pixel_accuracy),
            }
        return {
            "frames": self.processed.count,
            "seconds": round(self.processed.seconds, 4),
            "processed_fps": number(self.processed.per_second),
            "displayed_fps": number(self.displayed.per_second),
            "dropped": self.dropped,
            "interrupted": self.interrupted,
            "accuracy": accuracy,
            "stages": {name: d.summary() for name, d in self.stages.items() if d.count},
        }


class LiveLoop:
    """Takes every frame of ``source`` through ``engine``, paints it, and gives it to the outputs.

    The engine always has as many frames as keep it busy. The calling thread feeds it, paints and
    shows; capturing and writing have threads of their own. ``limit`` ends the run after so many
    frames, ``on_frame`` is called after each with the number done. :meth:`stop` may be called from
    a signal handler: what is in flight is finished, and every output is closed.
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
        self._hud = HeadUpDisplay() if hud else None
        self._limit = limit
        self._on_frame = on_frame
        self._stop = False
        spec = engine.spec
        # Held at once: by the engine, ready, being captured, being painted, on the way to the sinks.
        held = engine.depth + 2 + 1 + 1 + HELD
        frames = [
            LiveFrame(
                np.empty((spec.height, spec.width, 3), np.uint8),
                np.empty((spec.mask_height, spec.mask_width), np.uint8),
            )
            for _ in range(held)
        ]
        self._capturing = Capturing(source, frames, loop=loop, start=start)
        self._writing = Writing(sinks or [], self._capturing.free)
        self._flying: deque[LiveFrame] = deque()
        self._taken = 0
        self._ended = False
        self._scaled: NDArray[np.uint8] = np.empty((0, 0), np.uint8)
        self._lines: list[str] = []
        self._lines_at = 0
        self._lines_count = 0
        self._last_frame = 0
        self._started = 0

    def stop(self) -> None:
        """End the run after the frame at hand."""
        self._stop = True
        self.report.interrupted = True

    def run(self) -> Report:
        """Run to the end of the source, the limit, :meth:`stop`, or the user's quitting.

        Whatever happens, the outputs are closed. Errors of the source, the engine and the outputs
        are raised after that.
        """
        # The engine has the cores: OpenCV's own threads would only get in its way.
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        try:
            self._started = now()
            self._capturing.start()
            try:
                self._loop()
            finally:
                self._capturing.stop()
                self._engine.drain()
                self.report.dropped = self._capturing.dropped
                self._writing.close()
                self.report.stages["write"] = self._writing.durations
        finally:
            cv2.setNumThreads(threads)
        return self.report

    def _loop(self) -> None:
        while not self._stop:
            self._feed(wait=not self._flying)
            if self._flying:
                frame = self._flying.popleft()
                self._engine.collect(frame.mask)
                self.report.stages["infer"].add(now() - frame.submitted)
                # The stream that has just become free gets its next frame before this one is painted.
                self._feed(wait=False)
                self._finish(frame)
            elif self._ended:
                return
            elif self._controls is not None:
                self._wait_visibly(self._controls)

    def _feed(self, *, wait: bool) -> None:
        """Submit what is ready, as much as the engine takes; wait a moment for it if asked to."""
        while self._engine.pending < self._engine.depth and not self._ended:
            if self._taken == self._limit:
                self._ended = True
                return
            try:
                frame = self._capturing.ready.take(_WAKE_S if wait else 0)
            except Closed:
                self._ended = True
                return
            if frame is None:
                return
            wait = False
            self._taken += 1
            frame.submitted = now()
            self._engine.submit(frame.small)
            self._flying.append(frame)

    def _finish(self, frame: LiveFrame) -> None:
        report, stages = self.report, self.report.stages
        stages["decode"].add(frame.decode)
        stages["resize"].add(frame.resize)
        clock = now()
        if frame.has_truth and report.matrix is not None:
            self._score(frame, report.matrix)
            clock = self._lap("score", clock)
        if self._controls is None or self._controls.overlay:
            self._painter.paint(frame.picture, frame.mask)
            clock = self._lap("paint", clock)
        if self._hud is not None and (self._controls is None or self._controls.hud):
            self._hud.draw(frame.picture, self._hud_lines(clock))
            clock = self._lap("hud", clock)
        if self._controls is not None:
            self._controls.window.show(frame.picture)
            clock = self._lap("show", clock)
            report.displayed.tick(clock)
        self._last_frame = clock
        stages["capture_to_display"].add(clock - frame.captured)
        report.processed.tick(clock)
        if not report.first_frame_ns:
            report.first_frame_ns = clock
        if self._on_frame is not None:
            self._on_frame(report.processed.count)
        # While the user has paused, the frame and its buffers stay here.
        if self._controls is not None and self._controls.hold(
            frame.picture, self._writing, self._painter
        ):
            self._stop = True
        # An error of a sink comes up here, at the next frame at the latest.
        self._writing.put(frame)

    def _wait_visibly(self, controls: Controls) -> None:
        """Nothing has come for a moment: answer keys, and do not let an old frame pass for new."""
        silent = now() - max(self._last_frame, self._started)
        if silent > _SILENCE and self._source.live:
            controls.window.show(self._waiting_picture(silent))
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
        cv2.resize(frame.mask, (width, height), dst=self._scaled, interpolation=cv2.INTER_NEAREST)
        matrix.add(frame.truth, self._scaled)
        self.report.scored += 1

    def _hud_lines(self, clock: int) -> list[str]:
        if self._lines and clock - self._lines_at < _HUD_EVERY:
            return self._lines
        report, spec = self.report, self._engine.spec
        fps = math.nan
        if self._lines and clock > self._lines_at:
            fps = (report.processed.count - self._lines_count) * 1e9 / (clock - self._lines_at)
        latency = report.stages["capture_to_display"].percentile(50)
        self._lines_at, self._lines_count = clock, report.processed.count
        speed = "" if math.isnan(fps) else f"{fps:.0f} FPS  {latency:.1f} ms"
        accuracy = ""
        if report.matrix is not None and report.scored:
            accuracy = f"  mIoU {report.matrix.miou:.3f}"
        dropped = f"  dropped {self._capturing.dropped}" if self._capturing.dropped else ""
        self._lines = [
            f"{speed or 'starting'}{accuracy}{dropped}",
            f"{spec.name}  {self._engine.backend} {self._engine.precision}  "
            f"{spec.width}x{spec.height}",
        ]
        return self._lines
