"""The table at the end of a live run, and the JSON of ``--stats``."""

from __future__ import annotations

import contextlib
import os
import platform
import shlex
import sys
import time
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from rtseg import __version__
from rtseg.engine import Engine
from rtseg.video.report import Report
from rtseg.video.sources import Source, without_password

if TYPE_CHECKING:
    from rich.text import Text


def stats(
    engine: Engine, source: Source, report: Report, command: list[str], start_to_first: float | None
) -> dict[str, Any]:
    """Everything that a run measured and what it ran on, as plain JSON values."""
    spec = engine.spec
    return {
        "command": shlex.join(without_password(word) for word in command),
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
    """Print the table to standard output; a reader who has gone away is no failure."""
    if sys.stdout is None:  # closed
        return
    with contextlib.suppress(AttributeError, ValueError):  # the arrow, where it cannot be encoded
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        print(_text(values), flush=True)
    except BrokenPipeError:
        # Python flushes again at its end, and would complain then.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _text(values: dict[str, Any]) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=sys.stdout)
    with console.capture() as capture:
        engine = values["engine"]
        width, height = engine["size"]
        name = values["source"]["name"].encode(errors="replace").decode()
        for line in (
            name,
            f"{engine['network']} on {engine['backend']} {engine['precision']}, {width}×{height}",
        ):
            console.print(Text(line), soft_wrap=True)
        table = Table()
        table.add_column("stage")
        for column in ("p50", "p95", "p99", "max"):
            table.add_column(f"{column}, ms", justify="right")
        for stage, times in values["stages"].items():
            cells = [f"{times[key]:.2f}" for key in ("p50_ms", "p95_ms", "p99_ms", "max_ms")]
            label = stage.replace("_", " ").replace("capture to display", "capture → display")
            last = stage == "capture_to_display"
            table.add_row(label, *cells, style="bold" if last else None)
        if values["stages"]:
            console.print(table, highlight=False)
        console.print(_result(values), soft_wrap=True)
    return capture.get().rstrip("\n")


def _result(values: dict[str, Any]) -> Text:
    from rich.text import Text

    parts = [Text(f"{values['frames']} frame{'' if values['frames'] == 1 else 's'}")]
    if values["processed_fps"] is not None:
        parts.append(Text(f"{values['processed_fps']:.1f} FPS", "bold"))
    if values["displayed_fps"] is not None:
        parts.append(Text(f"{values['displayed_fps']:.1f} FPS displayed"))
    if values["source"]["live"]:
        parts.append(Text(f"{values['dropped']} dropped"))
    accuracy = values["accuracy"]
    if accuracy is not None and accuracy["miou"] is not None:
        iou = ", ".join(
            f"{name} {value:.4f}"
            for name, value in zip(values["engine"]["classes"], accuracy["iou"], strict=True)
            if value is not None
        )
        parts.append(Text.assemble((f"mIoU {accuracy['miou']:.4f}", "bold"), f" ({iou})"))
    return Text(", ").join(parts)
