"""``rtseg-live``: a road video in, the painted road out."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from rtseg.cli.arguments import run
from rtseg.cli.interrupts import Interrupts, interruptible
from rtseg.cli.live_options import PROG, check_outputs, check_source, parser
from rtseg.errors import NetworkError, RtsegError, UsageError

if TYPE_CHECKING:
    from rtseg.cli.progress import Progress
    from rtseg.engine import Engine, Mode
    from rtseg.video.controls import Controls
    from rtseg.video.pipeline import LiveLoop
    from rtseg.video.sinks import Sink
    from rtseg.video.sources import Source

__all__ = ["main", "parser"]


class _Terminal:
    """Prints lines to standard error, above the progress bar if there is one."""

    def __init__(self, *, bar: bool) -> None:
        self._bar = bar and sys.stderr is not None and sys.stderr.isatty()
        self._progress: Progress | None = None

    def say(self, line: str) -> None:
        from rtseg.video.quiet import TERMINAL

        text = f"{PROG}: {line}"
        if sys.stderr is None:
            return
        with TERMINAL:
            if self._progress is not None:
                self._progress.print(text)
            else:
                print(text, file=sys.stderr, flush=True)

    def update(self, done: int, total: int | None) -> None:
        """Show how many frames are done."""
        if not self._bar:
            return
        if self._progress is None:
            # Only now: the bar's library takes longer to import than a frame takes.
            from rtseg.cli.progress import Progress

            self._progress = Progress(total)
        self._progress.update(done)

    def close(self) -> None:
        """Take the bar away."""
        progress, self._progress = self._progress, None
        if progress is not None:
            progress.close()


def _total(source: Source, options: argparse.Namespace) -> int | None:
    left = None if source.count is None or options.loop else max(0, source.count - options.start)
    limits = [n for n in (left, options.limit) if n is not None]
    return min(limits) if limits else None


def _live(
    options: argparse.Namespace, began: float, command: list[str], interrupts: Interrupts
) -> int:
    if options.camera is not None and options.source is not None:
        raise UsageError(
            f"give --camera {options.camera} or the source {options.source!r}, not both"
        )
    text = str(options.camera) if options.camera is not None else options.source or "demo"
    if options.quiet:
        logging.getLogger("rtseg").setLevel(logging.WARNING)

    # Imports come as late as they can: a wrong argument is said before OpenVINO is loaded.
    from rtseg.atomic import require_writable
    from rtseg.cli.build_progress import MaybeBuilding
    from rtseg.engine import find_network, load
    from rtseg.video.controls import Controls
    from rtseg.video.overlay import Painter
    from rtseg.video.pipeline import LiveLoop
    from rtseg.video.sheet import ContactSheet
    from rtseg.video.sinks import MaskFolder, Recording
    from rtseg.video.sources import open_source
    from rtseg.video.window import Window

    network = find_network(options.network)
    spec = network.spec
    if options.size is not None:
        try:
            spec.resized(*options.size)
        except NetworkError as error:
            raise UsageError(f"--size: {error}") from error
    painter = Painter(
        spec.classes,
        spec.palette,
        paint=options.paint,
        opacity=options.opacity,
        contours=options.contours,
    )
    terminal = _Terminal(bar=not options.quiet)
    with ExitStack() as stack:
        window = None
        if not options.headless:
            window = Window("rtseg")
            stack.callback(window.close)
        source = interruptible(
            lambda: open_source(
                text,
                classes=spec.classes,
                size=options.capture_size,
                fps=options.capture_fps,
                seed=options.seed or 0,
                realtime=options.realtime,
            )
        )
        opened = stack.enter_context(ExitStack())
        opened.callback(source.close)
        stack.callback(source.stop)
        check_source(options, source)
        check_outputs(options, network.path, list(source.paths))
        # Every output is tried before the engine is compiled.
        if options.stats is not None:
            require_writable(options.stats)
        sinks: list[Sink] = []
        rate = None if source.live else source.fps
        if options.record is not None:
            sinks.append(Recording(options.record, rate))
        if options.sheet is not None:
            sinks.append(ContactSheet(options.sheet))
        if options.masks is not None:
            sinks.append(MaskFolder(options.masks))
        source.skip(options.start)
        mode: Mode = options.mode or ("latency" if source.live else "throughput")
        with MaybeBuilding(PROG, spec.name, show=not options.quiet) as progress:
            engine = stack.enter_context(
                load(
                    options.network,
                    backend=options.backend,
                    precision=options.precision,
                    size=options.size,
                    mode=mode,
                    on_progress=progress,
                )
            )
        controls: Controls | None = None
        if window is not None:
            window.title = f"rtseg: {source.name}"
            controls = Controls(
                window, folder=Path.cwd(), fps=rate, hud=not options.no_hud, say=terminal.say
            )

        def on_frame(done: int) -> None:
            terminal.update(done, _total(source, options))
            for line in loop.take_notes():
                terminal.say(line)

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
        opened.pop_all()
        interrupts.hand_to(loop.stop)
        failure: RtsegError | None = None
        try:
            loop.run()
        except RtsegError as error:
            failure = error
        finally:
            terminal.close()
        for line in loop.take_notes():
            terminal.say(line)
        if failure is None or loop.report.processed.count:
            # What was measured until then is worth having after a failure, too.
            _tell(options, engine, source, loop, command, began, failure)
        if failure is not None:
            raise failure
        if interrupts.caught is not None:
            return interrupts.status
        return 1 if source.failures else 0


def _tell(
    options: argparse.Namespace,
    engine: Engine,
    source: Source,
    loop: LiveLoop,
    command: list[str],
    began: float,
    failure: RtsegError | None,
) -> None:
    """Write ``--stats`` and print the table."""
    from rtseg.atomic import write_atomically
    from rtseg.cli.summary import print_summary, stats

    report = loop.report
    first = report.first_frame_ns / 1e9 - began if report.first_frame_ns else None
    values = stats(engine, source, report, command, first and round(first, 4))
    values["failure"] = None if failure is None else str(failure)
    if not options.quiet:
        print_summary(values)
    if options.stats is not None:
        text = json.dumps(values, indent=1, allow_nan=False) + "\n"
        try:
            write_atomically(options.stats, text.encode())
        except RtsegError as error:
            if failure is None:
                raise
            print(f"{PROG}: error: {error}", file=sys.stderr)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    began = time.perf_counter()
    given = sys.argv[1:] if arguments is None else arguments
    with Interrupts(own_process=arguments is None) as interrupts:
        try:
            options = parser().parse_args(given)
            status = run(PROG, lambda: _live(options, began, [PROG, *given], interrupts))
        except KeyboardInterrupt:
            status = interrupts.status
        except BrokenPipeError:  # nobody reads what there is to say
            status = 1
        if interrupts.caught is not None and status == 128 + signal.SIGINT:
            status = interrupts.status
    if arguments is None:
        _leave(status)
    return status


def _leave(status: int) -> None:
    """Make sure that the process can end, and says nothing more."""
    # All is done and closed: a signal now would only give a traceback of the interpreter's end.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    threads = threading.enumerate()
    if any(thread.daemon and thread.name.startswith("rtseg-") for thread in threads):
        # A thread that hangs in a driver would crash when it comes back to an ended interpreter.
        os._exit(status)


if __name__ == "__main__":
    sys.exit(main())
