"""``python -m benchmarks.live``: what the live loop leaves of the bare engine's speed.

In interleaved rounds: the engine alone on frames that lie decoded and resized in memory, the whole
live loop (decoding, resizing, inference, painting, text; no window and no recording) on the same
video, and the loop's host work alone on one thread.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import measuring
from rtseg.cli.arguments import run, whole

NAME = "live"
FPS_BAR = 0.80
HOST_BAR = 0.25
_HOST = ("resize", "paint", "hud")


def figures(samples: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Derive the loop's share of the bare FPS, CPU seconds a frame, and host work a frame."""
    median = {key: statistics.median(values) for key, values in samples.items()}
    engine_ms = 1e3 / median["bare.fps"]
    in_loop = [sum(parts) for parts in zip(*(samples[f"live.{s}_ms"] for s in _HOST), strict=True)]
    alone = [sum(parts) for parts in zip(*(samples[f"host.{s}_ms"] for s in _HOST), strict=True)]
    share = measuring.ratio(samples["live.fps"], samples["bare.fps"])

    def host(times: Sequence[float]) -> dict[str, Any]:
        ms = statistics.median(times)
        share_of_engine = ms / engine_ms
        return {
            "ms_per_frame": ms,
            "share_of_engine_time": share_of_engine,
            "bar": HOST_BAR,
            "reached": share_of_engine <= HOST_BAR,
        }

    return {
        "bare_fps": measuring.spread(samples["bare.fps"]),
        "live_fps": measuring.spread(samples["live.fps"]),
        "live_share_of_bare": {
            **share,
            "bar": FPS_BAR,
            "reached": share["of_medians"] >= FPS_BAR,
        },
        "cpu_ms_per_frame": {
            "bare": median["bare.cpu_ms"],
            "live": median["live.cpu_ms"],
            # With every core busy, frames a second are cores / CPU seconds a frame.
            "share_bound": median["bare.cpu_ms"] / median["live.cpu_ms"],
        },
        "engine_ms_per_frame": engine_ms,
        "host_in_loop": host(in_loop),
        "host_alone": host(alone),
        "stages_ms": {
            key: median[key]
            for key in samples
            if key.endswith("_ms") and not key.endswith("cpu_ms")
        },
        "quiet": measuring.quiet(samples),
    }


def _measure(options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, list[float]]]:
    import cv2
    import numpy as np

    from benchmarks.frames import record_drive
    from benchmarks.turns import stream
    from rtseg.engine import load
    from rtseg.video.capture import FileSource
    from rtseg.video.frame import LiveFrame, now
    from rtseg.video.hud import HeadUpDisplay
    from rtseg.video.overlay import Painter
    from rtseg.video.pipeline import LiveLoop
    from rtseg.video.timing import Durations

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        video = options.video or record_drive(folder / "drive.mp4", 960, 540, options.rendered)
        engine = stack.enter_context(load(options.network))
        spec = engine.spec
        empty = np.empty((0, 0), np.uint8)

        # As many as fit a quarter of a GiB, so that a long video does not fill the memory.
        most = max(8, (1 << 28) // (spec.width * spec.height * 3))
        source = FileSource(video)
        read = LiveFrame(empty, empty)
        small: list[Any] = []
        pictures: list[Any] = []
        while len(small) < most and source.read(read):
            if len(pictures) < 16:
                pictures.append(read.picture.copy())
            small.append(cv2.resize(read.picture, (spec.width, spec.height)))
        source.close()
        masks = list(engine.infer(np.stack(small[: len(pictures)])))

        def painter() -> Painter:
            return Painter(spec.classes, spec.palette)

        def bare() -> dict[str, float]:
            seconds, cpu = stream(engine, small, options.frames)
            return {"fps": options.frames / seconds, "cpu_ms": cpu / options.frames * 1e3}

        def live() -> dict[str, float]:
            loop = LiveLoop(
                engine, FileSource(video), painter(), hud=True, limit=options.frames, loop=True
            )
            cpu = time.process_time()
            report = loop.run()
            cpu = time.process_time() - cpu
            return {
                "fps": report.processed.per_second,
                "cpu_ms": cpu / options.frames * 1e3,
                **{
                    f"{stage}_ms": report.stages[stage].percentile(50)
                    for stage in ("decode", "capture_to_display", *_HOST)
                },
            }

        def host() -> dict[str, float]:
            """The host's work on its own: one thread, nothing beside it."""
            threads = cv2.getNumThreads()
            cv2.setNumThreads(1)
            paint, text = painter(), HeadUpDisplay()
            times = {stage: Durations() for stage in _HOST}
            shrunk = np.empty((spec.height, spec.width, 3), np.uint8)
            for index in range(min(options.frames, 100)):
                at = index % len(pictures)
                picture = pictures[at].copy()
                start = now()
                cv2.resize(picture, (spec.width, spec.height), dst=shrunk)
                resized = now()
                paint.paint(picture, masks[at])
                painted = now()
                # The loop's text changes four times a second, so every 30th frame at 120 FPS.
                text.draw(picture, [f"{index // 30 + 100} FPS  {20.0:.1f} ms", spec.name])
                times["resize"].add(resized - start)
                times["paint"].add(painted - resized)
                times["hud"].add(now() - painted)
            cv2.setNumThreads(threads)
            return {f"{stage}_ms": times[stage].percentile(50) for stage in _HOST}

        turns: dict[str, measuring.Turn] = {"bare": bare, "live": live, "host": host}
        for turn in turns.values():
            turn()
        samples = measuring.interleave(turns, options.rounds)
        height, width = pictures[0].shape[:2]
        settings = {
            "video": options.video.name
            if options.video
            else f"rendered drive, {len(small)} frames",
            "picture": [width, height],
            "rounds": options.rounds,
            "frames_a_turn": options.frames,
            "network": spec.name,
            "size": [spec.width, spec.height],
            "mask_size": [spec.mask_width, spec.mask_height],
            "backend": engine.backend,
            "precision": engine.precision,
            "frames_in_flight": engine.depth,
            "mode": engine.mode,
        }
    return settings, samples


def _command(options: argparse.Namespace, given: list[str]) -> int:
    settings, samples = _measure(options)
    found = figures(samples)
    path = measuring.write_result(
        options.out, NAME, given, settings=settings, samples=samples, figures=found
    )
    share, cpu = found["live_share_of_bare"], found["cpu_ms_per_frame"]
    loop, alone = found["host_in_loop"], found["host_alone"]
    width, height = settings["picture"]
    measuring.print_table(
        f"{width}×{height} video, {settings['network']} on {settings['backend']} "
        f"{settings['precision']}",
        ("", "median", "bar"),
        [
            ("bare engine, FPS", f"{found['bare_fps']['median']:.1f}", ""),
            ("live loop, FPS", f"{found['live_fps']['median']:.1f}", ""),
            (
                "live / bare",
                f"{share['of_medians']:.3f}",
                f"≥ {FPS_BAR} {measuring.verdict(share['reached'])}",
            ),
            ("CPU ms a frame, bare", f"{cpu['bare']:.2f}", ""),
            ("CPU ms a frame, live", f"{cpu['live']:.2f}", ""),
            ("bound on live / bare by CPU time", f"{cpu['share_bound']:.3f}", ""),
            (
                "host work in the loop / engine time",
                f"{loop['share_of_engine_time']:.3f}",
                f"≤ {HOST_BAR} {measuring.verdict(loop['reached'])}",
            ),
            (
                "host work alone / engine time",
                f"{alone['share_of_engine_time']:.3f}",
                f"≤ {HOST_BAR} {measuring.verdict(alone['reached'])}",
            ),
        ],
    )
    quiet = found["quiet"]
    print(f"{quiet['quiet_rounds']} of {quiet['rounds']} rounds were quiet; {path}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    p = measuring.parser(NAME, "Measure the live loop against the bare engine.")
    p.add_argument(
        "--video", type=Path, metavar="FILE", help="default: 960x540 H.264 of the rendered drive"
    )
    p.add_argument("--network", default="road-unet", metavar="NAME|FILE.onnx")
    p.add_argument("--rounds", type=whole(1), default=11, metavar="N", help="default: 11")
    p.add_argument(
        "--frames", type=whole(4), default=600, metavar="N", help="frames a turn (default: 600)"
    )
    p.add_argument(
        "--rendered", type=whole(4), default=300, metavar="N",
        help="frames of the rendered video, which is looped (default: 300)",
    )  # fmt: skip
    options = p.parse_args(given)
    return run(p.prog, lambda: _command(options, given))


if __name__ == "__main__":
    sys.exit(main())
