"""``rtseg-live``: a road video in, the painted road out."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from rtseg.cli.arguments import Parser, names, number, run, size, whole
from rtseg.errors import OutputError, UsageError

if TYPE_CHECKING:
    from rtseg.cli.progress import Progress
    from rtseg.engine import Mode
    from rtseg.video.controls import Controls
    from rtseg.video.pipeline import LiveLoop
    from rtseg.video.sinks import Sink
    from rtseg.video.sources import Source

PROG = "rtseg-live"
_EPILOG = """\
sources:
  demo                    a rendered drive that knows its own truth: shows mIoU, needs no download
  --camera 0              a camera; also /dev/video0
  clip.mp4, frames/       a video; a folder of pictures, or a glob in quotes
  2011_09_26_drive_0001_sync/, sequences/00/, data_road/training/    KITTI's layouts
  rtsp://…, http://…      a network stream; "v4l2src ! …" a GStreamer string

keys in the window:
  q or Esc quit, space pause, n step, o overlay, + - opacity, c contours, h text,
  s snapshot, r record

A file gives every frame in order; a camera or stream always the newest, and counts the others.
The exit status is 0, 1 for a failure, 2 for a wrong argument, 130 after Ctrl-C."""


def parser() -> Parser:
    """Build the argument parser."""
    p = Parser(PROG, "Paint the road on a live picture, and measure speed and accuracy.", _EPILOG)
    p.add_argument("source", nargs="?", help="see below (default: demo)")
    p.add_argument("--camera", metavar="N", type=whole(0), help="camera number N")

    network = p.add_argument_group("network and engine")
    network.add_argument("--network", default="road-unet", metavar="NAME|FILE.onnx")
    network.add_argument("--backend", metavar="NAME", help="openvino (default) or onnxruntime")
    network.add_argument(
        "--precision", metavar="NAME", help="fp32, fp16 or bf16 (default: fastest)"
    )
    network.add_argument("--size", type=size, metavar="WxH", help="the network's input size")
    network.add_argument(
        "--mode",
        choices=("throughput", "latency"),
        help="default: latency for cameras and streams, throughput for files and demo",
    )

    out = p.add_argument_group("outputs, several at once")
    out.add_argument("--headless", action="store_true", help="no window")
    out.add_argument("--record", type=Path, metavar="FILE", help="H.264 video: .mp4, .mov or .mkv")
    out.add_argument("--masks", type=Path, metavar="DIR", help="a PNG of class indices a frame")
    out.add_argument("--sheet", type=Path, metavar="FILE.png", help="contact sheet of the run")
    out.add_argument("--stats", type=Path, metavar="FILE", help="what was measured, as JSON")

    picture = p.add_argument_group("picture")
    picture.add_argument(
        "--paint", type=names, metavar="CLASS,…", help="default: all but background"
    )
    picture.add_argument("--opacity", type=number(0, 1), default=0.45, metavar="0..1")
    picture.add_argument("--contours", action="store_true", help="outline the painted classes")
    picture.add_argument("--no-hud", action="store_true", help="no text on the picture")

    course = p.add_argument_group("course")
    course.add_argument("--start", type=whole(0), default=0, metavar="N", help="skip N frames")
    course.add_argument("--limit", type=whole(1), metavar="N", help="stop after N frames")
    course.add_argument("--loop", action="store_true", help="begin again at the end of a file")
    course.add_argument(
        "--realtime",
        action="store_true",
        help="play a file or the demo at its own rate, as a camera",
    )
    course.add_argument(
        "--capture-size", type=size, metavar="WxH", help="asked of a camera, or the demo's size"
    )
    course.add_argument(
        "--capture-fps", type=number(0.1, 1000), metavar="FPS",
        help="asked of a camera, or the demo's or a folder's rate",
    )  # fmt: skip
    course.add_argument("--seed", type=whole(0), default=0, metavar="N", help="which demo drive")
    course.add_argument("--quiet", action="store_true", help="no progress bar and no table")
    return p


def _protect_input(options: argparse.Namespace, text: str) -> None:
    """Refuse outputs that would overwrite the source."""
    source = Path(text)
    record = options.record
    if record is not None and record.exists() and source.exists() and record.samefile(source):
        raise UsageError(f"--record {record}: this is the source itself")
    if options.masks is not None and options.masks.is_dir() and source.exists():
        folders = [source, source.parent] if source.is_file() else [source, *source.glob("**/")]
        if any(folder.is_dir() and options.masks.samefile(folder) for folder in folders):
            raise UsageError(
                f"--masks {options.masks}: this folder holds the source's own pictures"
            )


class _Notes:
    """Prints lines to standard error, above the progress bar if there is one."""

    def __init__(self) -> None:
        self.progress: Progress | None = None

    def say(self, line: str) -> None:
        text = f"{PROG}: {line}"
        if self.progress is not None:
            self.progress.print(text)
        else:
            print(text, file=sys.stderr, flush=True)

    def drain(self, source: Source) -> None:
        while source.notes:
            self.say(source.notes.pop(0))


def _total(source: Source, options: argparse.Namespace) -> int | None:
    left = None if source.count is None or options.loop else max(0, source.count - options.start)
    limits = [n for n in (left, options.limit) if n is not None]
    return min(limits) if limits else None


def _live(options: argparse.Namespace, began: float, command: list[str]) -> int:
    if options.camera is not None and options.source is not None:
        raise UsageError(
            f"give --camera {options.camera} or the source {options.source!r}, not both"
        )
    text = str(options.camera) if options.camera is not None else options.source or "demo"
    _protect_input(options, text)

    # Imports come as late as they can: a wrong argument is said before OpenVINO is loaded.
    from rtseg.atomic import require_writable
    from rtseg.engine import find_network, load
    from rtseg.video.controls import Controls
    from rtseg.video.overlay import Painter
    from rtseg.video.pipeline import LiveLoop
    from rtseg.video.sheet import ContactSheet
    from rtseg.video.sinks import MaskFolder, Recording
    from rtseg.video.sources import open_source
    from rtseg.video.window import Window

    if options.stats is not None:
        require_writable(options.stats)
    network = find_network(options.network)
    spec = network.spec
    painter = Painter(
        spec.classes,
        spec.palette,
        paint=options.paint,
        opacity=options.opacity,
        contours=options.contours,
    )
    notes = _Notes()
    with ExitStack() as stack:
        source = open_source(
            text,
            classes=spec.classes,
            size=options.capture_size,
            fps=options.capture_fps,
            seed=options.seed,
            realtime=options.realtime,
        )
        stack.callback(source.stop)
        mode: Mode = options.mode or ("latency" if source.live else "throughput")
        engine = stack.enter_context(
            load(
                options.network,
                backend=options.backend,
                precision=options.precision,
                size=options.size,
                mode=mode,
            )
        )
        source.skip(options.start)
        sinks: list[Sink] = []
        rate = None if source.live else source.fps
        if options.record is not None:
            sinks.append(Recording(options.record, rate))
        if options.masks is not None:
            sinks.append(MaskFolder(options.masks))
        if options.sheet is not None:
            sinks.append(ContactSheet(options.sheet))
        controls: Controls | None = None
        if not options.headless:
            window = Window(f"rtseg: {source.name}")
            stack.callback(window.close)
            controls = Controls(
                window, folder=Path.cwd(), fps=rate, hud=not options.no_hud, say=notes.say
            )

        show_bar = not options.quiet and sys.stderr.isatty()

        def on_frame(done: int) -> None:
            if show_bar and notes.progress is None:
                # Only now: the bar's library takes longer to import than a frame takes.
                from rtseg.cli.progress import Progress

                notes.progress = Progress(_total(source, options))
                stack.callback(notes.progress.close)
            if notes.progress is not None:
                notes.progress.update(done)
            if source.notes:
                notes.drain(source)

        loop = LiveLoop(
            engine,
            source,
            painter,
            sinks=sinks,
            controls=controls,
            hud=not options.no_hud,
            limit=options.limit,
            start=options.start,
            loop=options.loop,
            on_frame=on_frame,
        )
        caught = _stop_on_signals(loop)
        try:
            report = loop.run()
        finally:
            if notes.progress is not None:
                notes.progress.close()
                notes.progress = None
            notes.drain(source)
        from rtseg.cli.summary import print_summary, stats

        first = report.first_frame_ns / 1e9 - began if report.first_frame_ns else None
        values = stats(engine, source, report, command, first and round(first, 4))
        if options.stats is not None:
            from rtseg.atomic import write_atomically

            text = json.dumps(values, indent=1, allow_nan=False) + "\n"
            write_atomically(options.stats, text.encode())
        if not options.quiet:
            print_summary(values)
        if caught:
            return 128 + caught[0]
        return 1 if source.failures else 0


def _stop_on_signals(loop: LiveLoop) -> list[int]:
    """Let the first Ctrl-C or SIGTERM end the run properly; returns a list that will name it."""
    caught: list[int] = []

    def handle(signum: int, frame: FrameType | None) -> None:
        if caught:  # the second one means it
            signal.signal(signum, signal.SIG_DFL)
            signal.raise_signal(signum)
        caught.append(signum)
        loop.stop()

    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, handle)
    return caught


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    began = time.perf_counter()
    given = sys.argv[1:] if arguments is None else arguments
    options = parser().parse_args(given)
    try:
        return run(PROG, lambda: _live(options, began, [PROG, *given]))
    except BrokenPipeError as error:
        raise SystemExit(OutputError.status) from error


if __name__ == "__main__":
    sys.exit(main())
