"""The table at the end of a live run, and the JSON of ``--stats``."""

from __future__ import annotations

import platform
import sys
import time
from typing import Any

import cv2
import numpy as np

from rtseg import __version__
from rtseg.engine import Engine
from rtseg.video.pipeline import Report
from rtseg.video.sources import Source


def stats(
    engine: Engine, source: Source, report: Report, command: list[str], start_to_first: float | None
) -> dict[str, Any]:
    """Everything that a run measured and what it ran on, as plain JSON values."""
    spec = engine.spec
    return {
        "command": " ".join(command),
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "source": {
            "name": source.name,
            "kind": source.kind,
            "live": source.live,
            "fps": source.fps,
            "frames": source.count,
            "failures": source.failures,
            "reconnects": source.reconnects,
        },
        "engine": {
            "network": spec.name,
            "backend": engine.backend,
            "precision": engine.precision,
            "device": engine.device,
            "mode": engine.mode,
            "frames_in_flight": engine.depth,
            "size": [spec.width, spec.height],
            "mask_size": [spec.mask_width, spec.mask_height],
            "classes": list(spec.classes),
            "compiled_now": engine.built,
        },
        "start_to_first_frame_s": start_to_first,
        **report.as_dict(),
        "versions": {
            "rtseg": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "opencv": cv2.__version__,
            **engine.versions,
        },
        "machine": {"system": platform.platform(), "processor": engine.device},
    }


def print_summary(values: dict[str, Any]) -> None:
    """Print the table to standard output."""
    from rich.console import Console
    from rich.table import Table

    engine = values["engine"]
    title = (
        f"{values['source']['name']}: {engine['network']} on {engine['backend']} "
        f"{engine['precision']}, {engine['size'][0]}×{engine['size'][1]}"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("stage")
    for column in ("p50", "p95", "p99", "max"):
        table.add_column(f"{column}, ms", justify="right")
    for stage, times in values["stages"].items():
        cells = [f"{times[key]:.2f}" for key in ("p50_ms", "p95_ms", "p99_ms", "max_ms")]
        label = stage.replace("_", " ").replace("capture to display", "capture → display")
        last = stage == "capture_to_display"
        table.add_row(label, *cells, style="bold" if last else None)
    console = Console(file=sys.stdout)
    console.print(table, highlight=False)
    fps = values["processed_fps"]
    parts = [f"{values['frames']} frames"]
    if fps is not None:
        parts.append(f"[bold]{fps:.1f} FPS[/bold]")
    if values["displayed_fps"] is not None:
        parts.append(f"{values['displayed_fps']:.1f} FPS displayed")
    if values["source"]["live"]:
        parts.append(f"{values['dropped']} dropped")
    accuracy = values["accuracy"]
    if accuracy is not None:
        iou = ", ".join(
            f"{name} {value:.4f}"
            for name, value in zip(engine["classes"], accuracy["iou"], strict=True)
            if value is not None
        )
        parts.append(f"[bold]mIoU {accuracy['miou']:.4f}[/bold] ({iou})")
    console.print(", ".join(parts), highlight=False, soft_wrap=True)
