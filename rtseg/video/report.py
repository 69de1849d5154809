"""What a run of the live loop measures, and the lines of it that are written on the picture."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from rtseg.engine import Engine
from rtseg.evaluation import ConfusionMatrix
from rtseg.video.timing import Durations, Rate

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

_EVERY_NS = 250_000_000


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


class Readout:
    """The lines on the picture: what the last quarter of a second was like, and what runs."""

    def __init__(self, engine: Engine, report: Report) -> None:
        spec = engine.spec
        self._what = f"{spec.name}  {engine.backend} {engine.precision}  {spec.width}x{spec.height}"
        self._report = report
        self._lines: list[str] = []
        self._at = 0
        self._count = 0

    @property
    def latest(self) -> list[str]:
        """The lines as they were given last."""
        return self._lines or [self._what]

    def leave_out(self, nanoseconds: int) -> None:
        """Do not count the last so many nanoseconds: the user had paused."""
        self._at += nanoseconds

    def lines(self, clock: int, dropped: int) -> list[str]:
        """Return the lines at a time, nanoseconds; the same ones until they are due anew."""
        if self._lines and clock - self._at < _EVERY_NS:
            return self._lines
        report = self._report
        parts = []
        if self._lines:
            fps = (report.processed.count - self._count) * 1e9 / (clock - self._at)
            latency = report.stages["capture_to_display"].percentile(50)
            parts += [f"{fps:.0f} FPS", f"{latency:.1f} ms"]
        if report.matrix is not None and report.scored and not math.isnan(report.matrix.miou):
            parts.append(f"mIoU {report.matrix.miou:.3f}")
        if dropped:
            parts.append(f"dropped {dropped}")
        self._at, self._count = clock, report.processed.count
        self._lines = ["  ".join(parts) or "starting", self._what]
        return self._lines
