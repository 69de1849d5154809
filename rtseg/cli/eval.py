"""``rtseg-eval``: a network on a whole dataset, or over a folder of pictures or a video."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

from rtseg.cli.arguments import run
from rtseg.cli.eval_options import PROG, parser
from rtseg.cli.interrupts import Interrupts
from rtseg.errors import InputError, NetworkError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rtseg.cli.eval_source import Frames
    from rtseg.engine import Engine
    from rtseg.evaluation.records import Record, RecordFile
    from rtseg.evaluation.running import Runner
    from rtseg.evaluation.scoring import Work

__all__ = ["main", "parser"]

log = logging.getLogger("rtseg")


def _evaluate(options: argparse.Namespace, command: list[str], interrupts: Interrupts) -> int:
    # Imports come as late as they can: a wrong argument is said before OpenVINO is loaded.
    from rtseg.engine import find_network
    from rtseg.engine.cache_lock import exclusive
    from rtseg.video.quiet import quiet_opencv

    if options.quiet:
        log.setLevel(logging.WARNING)
    quiet_opencv()
    if options.ray is not None:
        from rtseg.cli.eval_ray import check

        check(options)
    network = find_network(options.network)
    if options.size is not None:
        try:
            network.spec.resized(*options.size)
        except NetworkError as error:
            raise UsageError(f"--size: {error}") from error
    from rtseg.cli.eval_folder import prepare
    from rtseg.cli.eval_source import open_frames

    frames = open_frames(options, network.spec)
    prepare(options.out)
    with exclusive(options.out / ".lock", f"{options.out}: another rtseg-eval is at work: waiting"):
        return _in_folder(options, command, interrupts, frames, network.sha256)


def _in_folder(
    options: argparse.Namespace,
    command: list[str],
    interrupts: Interrupts,
    frames: Frames,
    sha256: str,
) -> int:
    import cv2

    from rtseg.cli.eval_engines import load_engines, settings_of, work_of
    from rtseg.cli.eval_folder import open_records
    from rtseg.cli.eval_results import make_result, print_result, write_report, write_result

    cv2.setNumThreads(1)  # the cores are the engine's
    with ExitStack() as stack:
        engines, spaces = load_engines(options, frames, stack)
        work = work_of(options, frames, engines[0], spaces)
        settings = settings_of(options, frames, engines[0], sha256, spaces)
        file = open_records(options.out, settings, again=options.again)
        stack.callback(file.close)
        frames.require_same(file.found)
        if frames.dataset.scored is not None and frames.dataset.scored.note:
            log.info("%s", frames.dataset.scored.note, extra={"news": not options.quiet})
        stopped = threading.Event()
        interrupts.hand_to(stopped.set)
        done = {index for index, record in file.found.items() if record.status != "skipped"}
        runner = _runner(options, frames, engines, sha256, done, stopped)
        speed = _run(runner, frames, work, file, done, stopped, quiet=options.quiet)
        if stopped.is_set():
            return _stop(len(file.found), frames.total, interrupts)
        records = frames.records(file.found)
        if (
            options.painted
            and frames.video is not None
            and not _paint(options, frames, engines[0], records, stopped)
        ):
            return _stop(len(file.found), frames.total, interrupts)
        if options.measure is not None:
            speed |= _measure(options.measure, engines, frames, work)
        devices = options.devices or []
        result = make_result(command, sha256, frames, engines, devices, records, speed)
        write_result(options.out, result, records)
        if not options.no_report:
            write_report(options.out, result, records, frames, engines[0], work)
    if not options.quiet:
        print_result(result, options.out, options)
    return _status(result, records, strict=options.strict)


def _runner(
    options: argparse.Namespace,
    frames: Frames,
    engines: Sequence[Engine],
    sha256: str,
    done: set[int],
    stopped: threading.Event,
) -> Runner:
    if options.ray is not None:
        from rtseg.cli.eval_ray import ray_runner

        return ray_runner(options, frames, engines[0], sha256, done, stopped.is_set)
    from rtseg.evaluation.running import LocalRunner

    return LocalRunner(engines)


def _run(
    runner: Runner,
    frames: Frames,
    work: Work,
    file: RecordFile,
    done: set[int],
    stopped: threading.Event,
    *,
    quiet: bool,
) -> dict[str, Any]:
    """Evaluate what has no record yet; returns how long it took."""
    bar: Any = None
    if not quiet and sys.stderr is not None and sys.stderr.isatty():
        from rtseg.cli.progress import Progress

        bar = Progress(frames.total)
    began, count = time.perf_counter(), 0
    try:
        with closing(runner.run(frames.samples(done), work)) as records:
            for record in records:
                file.append(record)
                count += 1
                if bar is not None:
                    bar.update(len(done) + count)
                if stopped.is_set():
                    break
    finally:
        if bar is not None:
            bar.close()
    seconds = time.perf_counter() - began
    return {
        "seconds": round(seconds, 3),
        "frames": count,
        "fps": round(count / seconds, 3) if count else None,
        "engine_fps": None,
        "efficiency": None,
    }


def _stop(done: int, total: int | None, interrupts: Interrupts) -> int:
    of = "" if total is None else f" of {total}"
    print(f"{PROG}: stopped after {done}{of} frames: the same command goes on", file=sys.stderr)
    return interrupts.status


def _paint(
    options: argparse.Namespace,
    frames: Frames,
    engine: Engine,
    records: Sequence[Record],
    stopped: threading.Event,
) -> bool:
    from rtseg.cli.eval_video import paint_video
    from rtseg.video.container import shown_frames

    out = options.out / "painted.mp4"
    count = sum(record.status == "written" for record in records)
    if frames.video is None or (out.exists() and shown_frames(out) == count):
        return True
    masks = options.out / "masks"
    return paint_video(frames.video, masks, out, engine.spec, count, stopped.is_set)


def _measure(rounds: int, engines: Sequence[Engine], frames: Frames, work: Work) -> dict[str, Any]:
    from rtseg.evaluation.efficiency import measure_efficiency
    from rtseg.evaluation.result_file import rounded

    found = measure_efficiency(engines, frames.first(32), work, rounds)
    return {
        "engine_fps": rounded(found["engine_fps"]),
        "efficiency": rounded(found["efficiency"]),
        "measured": rounded(found),
    }


def _status(result: dict[str, Any], records: Sequence[Record], *, strict: bool) -> int:
    """Warn of what was skipped; the exit status."""
    counts = result["counts"]
    if not counts["scored"] and not counts["written"]:
        first = next((record.detail for record in records), "there are none")
        raise InputError(f"none of the {counts['frames']} frames could be evaluated: {first}")
    if not counts["skipped"]:
        return 0
    reasons = ", ".join(f"{n} {reason}" for reason, n in counts["reasons"].items())
    log.warning(
        "%d of %d frames skipped (%s): result.json lists them",
        counts["skipped"], counts["frames"], reasons,
    )  # fmt: skip
    return 1 if strict else 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    with Interrupts(own_process=arguments is None) as interrupts:
        try:
            options = parser().parse_args(given)
            status = run(PROG, lambda: _evaluate(options, [PROG, *given], interrupts))
        except KeyboardInterrupt:
            status = interrupts.status
        if interrupts.caught is not None and status == 128 + signal.SIGINT:
            status = interrupts.status
    return status


if __name__ == "__main__":
    sys.exit(main())
