"""``rtseg-bench live``: the live loop at a camera's frame rate, and what it leaves of the engine."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtseg import __version__
from rtseg.cli.arguments import (
    BACKENDS_HELP,
    PRECISIONS_HELP,
    Parser,
    names,
    number,
    run,
    size,
    whole,
)
from rtseg.errors import InputError, UsageError

if TYPE_CHECKING:
    from rtseg.cli.bench_live_sources import Reel
    from rtseg.engine import Mode
    from rtseg.video.sources import Source
    from rtseg.video.window import Window

PROG = "rtseg-bench live"
_EPILOG = """\
The loop of rtseg-live runs on a source that does not wait: it takes the newest frame, and the others
are dropped and counted. The screen is in memory unless --window is given. A file is played at --fps,
from the start again at its end; the drive lies rendered in memory, since a camera costs nothing.

  arrived     frames of the camera a second; below --fps where decoding is too slow
  age         of the frame whose mask is shown: when it comes on the screen, and while it is there
  streaming   mIoU of each frame of the drive with the mask that was on the screen when it arrived
  efficiency  the loop as fast as it can ÷ the engine alone, in turns, with frames in flight

  rtseg-bench live
  rtseg-bench live drive.mp4 --fps 60 --network road-unet,street-unet --json live.json
  rtseg-bench live --camera 0 --seconds 60"""


def parser() -> Parser:
    """Build the argument parser."""
    p = Parser(PROG, "Measure the live loop at a fixed frame rate.", _EPILOG)
    p.add_argument("source", nargs="?", help="as of rtseg-live (default: demo, the drive)")
    p.add_argument("--camera", metavar="N", type=whole(0), help="camera number N")
    p.add_argument("--fps", type=number(0.1, 1000), default=30.0, metavar="FPS", help="default: 30")
    p.add_argument(
        "--network", type=names, default=["road-unet"], metavar="NAME,…", help="default: road-unet"
    )
    p.add_argument("--backend", metavar="NAME", help=BACKENDS_HELP)
    p.add_argument("--precision", metavar="NAME", help=PRECISIONS_HELP)
    p.add_argument("--size", type=size, metavar="WxH", help="the network's input size")
    p.add_argument(
        "--seconds", type=number(0.1, 86400), default=10.0, metavar="S", help="default: 10"
    )
    p.add_argument("--limit", type=whole(2), metavar="N", help="end after N frames of the source")
    p.add_argument(
        "--rounds", type=whole(0), default=3, metavar="N",
        help="for the efficiency; 0 leaves it out (default: 3)",
    )  # fmt: skip
    p.add_argument(
        "--capture-size", type=size, metavar="WxH", help="of a camera, or the drive (960x540)"
    )
    p.add_argument("--window", action="store_true", help="show it in a window")
    p.add_argument("--json", type=Path, metavar="FILE", help="what was measured, as JSON")
    return p


class _Given:
    """The source that the user named, as often as it is wanted."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._text = str(options.camera) if options.camera is not None else options.source or "demo"
        wanted = max(2, round(options.seconds * options.fps))
        self.frames = min(wanted, options.limit or wanted)
        self.reel: Reel | None = None
        if self._text == "demo":
            from rtseg.cli.bench_live_sources import Reel

            try:
                self.reel = Reel(options.capture_size or (960, 540), options.fps, self.frames)
            except ValueError as error:
                raise UsageError(f"demo: {error}") from error

    def open(self) -> Source:
        """Open it from its beginning."""
        from rtseg.cli.bench_live_sources import ReelSource
        from rtseg.video.sources import open_source

        if self.reel is not None:
            return ReelSource(self.reel)
        options = self._options
        # Of folders and files the pace is the benchmark's.
        return open_source(self._text, size=options.capture_size, fps=options.fps)

    def sample(self) -> list[Any]:
        """Some of its pictures, for the engine alone; none of a camera."""
        if self.reel is not None:
            return self.reel.pictures[:32]
        import numpy as np

        from rtseg.video.frame import LiveFrame

        source = self.open()
        pictures: list[Any] = []
        if not source.live:
            empty = np.empty((0, 0), np.uint8)
            frame = LiveFrame(empty, empty)
            while len(pictures) < 32 and source.read(frame):
                pictures.append(frame.picture.copy())
        source.close()
        return pictures


def _measure(
    network: str, options: argparse.Namespace, given: _Given, window: Window
) -> dict[str, Any]:
    from rtseg.cli.bench_live_run import efficiency, run_paced, warm_up
    from rtseg.cli.bench_live_sources import AsCamera
    from rtseg.cli.build_progress import MaybeBuilding
    from rtseg.engine import load

    def engine(mode: Mode) -> Any:
        with MaybeBuilding(PROG, network) as progress:
            return load(
                network,
                backend=options.backend,
                precision=options.precision,
                size=options.size,
                mode=mode,
                on_progress=progress,
            )

    source = given.open()
    with ExitStack() as opened:
        opened.callback(source.close)
        with engine("latency") as live:  # as rtseg-live runs a camera
            own_pace = source.live
            frames = given.frames if not own_pace else options.limit or sys.maxsize
            camera = AsCamera(source, options.fps, frames, options.seconds)
            warm_up(live, None if own_pace else given.open)
            opened.pop_all()
            paced = run_paced(live, camera, window, given.reel)
            spec = live.spec
            described = {
                "network": spec.name,
                "backend": live.backend,
                "precision": live.precision,
                "device": live.device,
                "mode": live.mode,
                "frames_in_flight": live.depth,
                "size": [spec.width, spec.height],
                "versions": live.versions,
            }
    found = None
    if options.rounds and not own_pace and not paced["interrupted"]:
        with engine("throughput") as fast:
            found = efficiency(fast, given.sample(), given.open, options.rounds)
    return {**described, **paced, "efficiency": found}


def _ms(times: dict[str, float], key: str) -> str:
    return f"{times[key]:.1f}" if key in times else "–"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _print(rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.table import Table

    from rtseg.cli.bench_choose_verdict import others_line

    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 120)
    for row in rows:
        width, height = row["size"]
        table = Table(
            title=f"{row['network']} {width}×{height}, {row['backend']} {row['precision']}, "
            f"camera at {options.fps:g} FPS",
            title_justify="left",
        )
        table.add_column("")
        for column in ("p50", "p95", "p99", "max"):
            table.add_column(f"{column}, ms", justify="right")
        stages = {
            name.replace("_", " "): times
            for name, times in row["stages"].items()
            if name != "capture_to_display"  # which is the age as it is shown
        }
        stages["age of the mask as it is shown"] = row["age"]["at_display"]
        stages["age of the mask on the screen"] = row["age"]["on_screen"]
        for name, times in stages.items():
            cells = [_ms(times, f"{key}_ms") for key in ("p50", "p95", "p99", "max")]
            table.add_row(name, *cells, style="bold" if name.startswith("age") else None)
        console.print(table, highlight=False)
        found, streaming = row["efficiency"], row["streaming"]
        parts = [
            f"{_number(row['arrived_fps'], 1)} FPS arrived",
            f"{_number(row['processed_fps'], 1)} processed",
            f"{_number(row['displayed_fps'], 1)} displayed",
            f"{row['dropped']} of {row['frames_arrived']} frames dropped",
        ]
        if streaming is not None:
            parts.append(
                f"streaming mIoU {_number(streaming['miou'], 4)} "
                f"({streaming['unserved']} frames came before the first mask)"
            )
        if found is not None:
            parts.append(
                f"efficiency {found['ratio']:.3f} ({found['loop_fps']:.1f} of "
                f"{found['bare_fps']:.1f} FPS)"
            )
        console.print(", ".join(parts), highlight=False, soft_wrap=True)
        if busy := others_line(row["others_share"] or 0.0):
            console.print(busy, highlight=False, soft_wrap=True)


def _live(options: argparse.Namespace, command: list[str]) -> int:
    if options.camera is not None and options.source is not None:
        raise UsageError(
            f"give --camera {options.camera} or the source {options.source!r}, not both"
        )
    if options.json is not None:
        from rtseg.atomic import require_writable

        require_writable(options.json)
    from rtseg.atomic import write_atomically
    from rtseg.cli.bench_live_sources import Screen
    from rtseg.engine import find_network
    from rtseg.evaluation.machine import machine, versions
    from rtseg.evaluation.result_file import shown
    from rtseg.video.sources import without_password
    from rtseg.video.window import Window

    for network in options.network:
        find_network(network)  # a wrong name is said before anything is rendered
    with ExitStack() as stack:
        window = Window("rtseg-bench live") if options.window else Screen()
        stack.callback(window.close)
        given = _Given(options)
        rows: list[dict[str, Any]] = []
        for network in options.network:
            rows.append(_measure(network, options, given, window))
            if rows[-1]["interrupted"]:
                break
        _print(rows, options)
        if not any(row["processed"] for row in rows):
            raise InputError("no frame was processed: --seconds or --limit is too small")
    if options.json is not None:
        values = {
            "command": shlex.join(shown(without_password(word)) for word in command),
            "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "rtseg": __version__,
            "machine": machine(),
            "versions": versions(),
            "fps": options.fps,
            "seconds": options.seconds,
            "results": rows,
        }
        text = json.dumps(values, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
        write_atomically(options.json, text.encode())
    if rows[-1]["interrupted"]:
        return 130
    return 1 if any(row["failures"] for row in rows) else 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    options = parser().parse_args(given)
    return run(PROG, lambda: _live(options, [*PROG.split(), *given]))


if __name__ == "__main__":
    sys.exit(main())
