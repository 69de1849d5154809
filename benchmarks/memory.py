"""``python -m benchmarks.memory``: the live loop's memory over many frames.

Each variant (no output; a recording; a folder of masks) runs in a process of its own over a looped
video. The resident set is read every 100 frames, from the 1,000th on by default: what the first
frames allocate stays.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import measuring
from rtseg.cli.arguments import run, whole
from rtseg.errors import UsageError

NAME = "memory"
BYTES_BAR = 5_000_000
SHARE_BAR = 0.02
LEAST = 8
"""Samples below which a slope says nothing."""


@dataclass(frozen=True)
class Watch:
    """What one process is to run and how often it is to look at its memory."""

    variant: str
    video: Path
    network: str
    frames: int
    warm_up: int
    every: int


def resident() -> int:
    """Return this process's resident set, bytes (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def watch(job: Watch) -> tuple[list[tuple[int, int]], float]:
    """Run the live loop; returns (frames done, resident bytes) pairs and the loop's FPS."""
    from rtseg.engine import load
    from rtseg.video.capture import FileSource
    from rtseg.video.overlay import Painter
    from rtseg.video.pipeline import LiveLoop
    from rtseg.video.sinks import MaskFolder, Recording, Sink

    samples: list[tuple[int, int]] = []

    def on_frame(done: int) -> None:
        if done >= job.warm_up and done % job.every == 0:
            samples.append((done, resident()))

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        engine = stack.enter_context(load(job.network))
        source = FileSource(job.video)
        sinks: list[Sink] = []
        if job.variant == "recording":
            sinks.append(Recording(folder / "out.mp4", source.fps))
        elif job.variant == "masks":
            sinks.append(MaskFolder(folder / "masks"))
        painter = Painter(engine.spec.classes, engine.spec.palette)
        loop = LiveLoop(
            engine, source, painter, sinks=sinks, limit=job.frames, loop=True, on_frame=on_frame
        )
        report = loop.run()
    return samples, report.processed.per_second


def slope(samples: Sequence[tuple[int, int]]) -> float:
    """Return the least-squares slope, bytes a thousand frames."""
    frames, memory = [s[0] for s in samples], [s[1] for s in samples]
    return statistics.linear_regression(frames, memory).slope * 1000


def variant_figures(samples: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """Derive growth, slope and range of one variant, and its bar.

    Growth is the median of the last tenth of the samples less that of the first tenth: a single
    sample catches whatever happened to be in flight.
    """
    memory = [s[1] for s in samples]
    tenth = max(1, len(memory) // 10)
    first, last = statistics.median(memory[:tenth]), statistics.median(memory[-tenth:])
    growth = last - first
    return {
        "frames": samples[-1][0],
        "first_bytes": first,
        "last_bytes": last,
        "growth_bytes": growth,
        "growth_share": growth / first,
        "slope_bytes_per_1000_frames": slope(samples),
        "max_less_min_bytes": max(memory) - min(memory),
        "bar": {"bytes": BYTES_BAR, "share": SHARE_BAR},
        "reached": growth < BYTES_BAR and growth < SHARE_BAR * first,
    }


def _command(options: argparse.Namespace, given: list[str]) -> int:
    from benchmarks.frames import record_drive

    lengths = {
        "headless": options.frames,
        "recording": options.frames_recording,
        "masks": options.frames_masks,
    }
    lengths = {variant: frames for variant, frames in lengths.items() if frames}
    least = options.warm_up + LEAST * options.every
    for variant, frames in lengths.items():
        if frames < least:
            raise UsageError(
                f"{frames} frames ({variant}) are too few: {least} from --warm-up "
                f"{options.warm_up} and --every {options.every}"
            )
    samples: dict[str, Any] = {}
    speeds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        video = options.video or record_drive(
            Path(folder) / "drive.mp4", 960, 540, options.rendered
        )
        for variant, frames in lengths.items():
            job = Watch(variant, video, options.network, frames, options.warm_up, options.every)
            # A process for each: what one has allocated is not to hide what the next one does.
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                samples[variant], speeds[variant] = pool.submit(watch, job).result()
    found = {variant: variant_figures(series) for variant, series in samples.items()}
    path = measuring.write_result(
        options.out,
        NAME,
        given,
        settings={
            "network": options.network,
            "video": options.video.name
            if options.video
            else f"rendered drive, 960x540 H.264, {options.rendered} frames, looped",
            "warm_up_frames": options.warm_up,
            "sampled_every": options.every,
            "frames": lengths,
            "samples": "(frames done, resident bytes)",
        },
        samples=samples,
        figures={**found, "fps": speeds},
    )
    rows = [
        (
            f"{variant}, {values['frames']} frames",
            f"{values['first_bytes'] / 1e6:.1f}",
            f"{values['growth_bytes'] / 1e6:+.2f}",
            f"{100 * values['growth_share']:+.2f}",
            f"{values['slope_bytes_per_1000_frames'] / 1e3:+.1f}",
            f"{values['max_less_min_bytes'] / 1e6:.2f}",
            measuring.verdict(values["reached"]),
        )
        for variant, values in found.items()
    ]
    measuring.print_table(
        "Resident memory of the live loop",
        ("", "MB", "growth, MB", "%", "kB / 1000 frames", "max - min, MB", "< 5 MB, < 2 %"),
        rows,
    )
    print(path)
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    p = measuring.parser(NAME, "Measure how the live loop's memory grows.")
    p.add_argument("--video", type=Path, metavar="FILE", help="default: a rendered one")
    p.add_argument("--network", default="road-unet", metavar="NAME|FILE.onnx")
    for flag, default, what in (
        ("--frames", 20_000, "frames without any output"),
        ("--frames-recording", 6_000, "frames with a recording; 0: leave it out"),
        ("--frames-masks", 6_000, "frames with a folder of masks; 0: leave it out"),
    ):
        p.add_argument(
            flag, type=whole(0), default=default, metavar="N", help=f"{what} (default: {default})"
        )
    p.add_argument(
        "--warm-up", type=whole(0), default=1_000, metavar="N",
        help="frames before the first sample (default: 1000)",
    )  # fmt: skip
    p.add_argument(
        "--every", type=whole(1), default=100, metavar="N", help="frames a sample (default: 100)"
    )
    p.add_argument(
        "--rendered", type=whole(2), default=300, metavar="N",
        help="frames of the rendered video (default: 300)",
    )  # fmt: skip
    options = p.parse_args(given)
    return run(p.prog, lambda: _command(options, given))


if __name__ == "__main__":
    sys.exit(main())
