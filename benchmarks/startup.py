"""``python -m benchmarks.startup``: from starting the process to the first painted frame.

In interleaved rounds, each a fresh process: a bare one that imports cv2 and openvino, reads the
network and compiles it with the same settings, without rtseg; ``rtseg-live`` on a video with an
empty engine cache; and the same with a filled one. Every time is from just before the process is
started, on the monotonic clock that all processes share; what the bare one does not do (open and
decode the video, infer and paint a frame) is rtseg's to pay for.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import measuring
from rtseg.cli.arguments import run, whole
from rtseg.errors import InputError

NAME = "startup"
BAR = 1.5

_BARE = """
import sys, time
import cv2, openvino
path, width, height, streams, threads = sys.argv[1], *map(int, sys.argv[2:])
core = openvino.Core()
model = core.read_model(path)
model.reshape([1, height, width, 3])
core.compile_model(model, "CPU", {"NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": threads})
print(time.monotonic(), flush=True)
"""

# What the console script runs, and when its own clock (that of start_to_first_frame_s) began.
_LIVE = """
import sys, time
from rtseg.cli.live import main
began = time.monotonic()
status = main(sys.argv[1:])
print(began, flush=True)
sys.exit(status)
"""


def figures(samples: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Derive the ratio of each start to the bare one, and the bars."""
    found: dict[str, Any] = {
        f"{name}_s": measuring.spread(samples[f"{name}.first_s"])
        for name in ("bare", "cold", "warm")
    }
    for name in ("cold", "warm"):
        times = measuring.ratio(samples[f"{name}.first_s"], samples["bare.first_s"])
        found[f"{name}_to_bare"] = {**times, "bar": BAR, "reached": times["of_medians"] <= BAR}
    found["interpreter_and_arguments_s"] = statistics.median(samples["warm.main_s"])
    found["quiet"] = measuring.quiet(samples)
    return found


def _child(code: str, arguments: Sequence[str], cache: Path | None = None) -> tuple[float, float]:
    """Run a fresh interpreter; returns when it was started and the time that it printed last."""
    environment = dict(os.environ)
    if cache is not None:
        environment["XDG_CACHE_HOME"] = str(cache)
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise InputError(f"a measured process failed: {lines[-1]}")
    return start, float(done.stdout.split()[-1])


def _measure(options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, list[float]]]:
    from benchmarks.frames import record_drive
    from rtseg.engine import find_network
    from rtseg.engine.machine import usable_cores

    network = find_network(options.network)
    spec, cores = network.spec, usable_cores()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        video = options.video or record_drive(folder / "drive.mp4", 960, 540, options.rendered)
        stats = folder / "stats.json"
        warm_cache = folder / "warm"
        warm_cache.mkdir()

        def bare() -> dict[str, float]:
            sizes = (spec.width, spec.height, cores, cores)
            start, end = _child(_BARE, [str(network.path), *map(str, sizes)])
            return {"first_s": end - start}

        def live(cache: Path, *, compiled: bool) -> dict[str, float]:
            start, began = _child(
                _LIVE,
                [
                    str(video), "--headless", "--limit", "1", "--quiet", "--network",
                    options.network, "--stats", str(stats),
                ],
                cache,
            )  # fmt: skip
            values = json.loads(stats.read_text(encoding="utf-8"))
            if values["engine"]["compiled_now"] != compiled:
                raise InputError("the engine cache did not do what this benchmark is about")
            return {
                "first_s": began + values["start_to_first_frame_s"] - start,
                "main_s": began - start,
            }

        def cold() -> dict[str, float]:
            with tempfile.TemporaryDirectory(dir=folder) as cache:
                return live(Path(cache), compiled=True)

        def warm() -> dict[str, float]:
            return live(warm_cache, compiled=False)

        bare()
        live(warm_cache, compiled=True)
        samples = measuring.interleave({"bare": bare, "cold": cold, "warm": warm}, options.rounds)
    settings = {
        "clock": "from just before the process is started; bare: to the compiled network, "
        "cold and warm: to the first painted frame",
        "video": options.video.name if options.video else "rendered drive, 960x540 H.264",
        "rounds": options.rounds,
        "network": spec.name,
        "size": [spec.width, spec.height],
        "streams": cores,
        "threads": cores,
    }
    return settings, samples


def _command(options: argparse.Namespace, given: list[str]) -> int:
    if options.video is not None and not options.video.is_file():
        raise InputError(f"{options.video}: no such file")
    settings, samples = _measure(options)
    found = figures(samples)
    path = measuring.write_result(
        options.out, NAME, given, settings=settings, samples=samples, figures=found
    )
    rows = [("bare: imports and compilation", f"{found['bare_s']['median']:.3f}", "1", "")]
    for name, label in (("cold", "rtseg-live, cache empty"), ("warm", "rtseg-live, cache filled")):
        times = found[f"{name}_to_bare"]
        rows.append(
            (
                label,
                f"{found[f'{name}_s']['median']:.3f}",
                f"{times['of_medians']:.2f}",
                f"≤ {BAR} {measuring.verdict(times['reached'])}",
            )
        )
    measuring.print_table("Process start to first frame", ("", "s", "of bare", "bar"), rows)
    quiet = found["quiet"]
    print(f"{quiet['quiet_rounds']} of {quiet['rounds']} rounds were quiet; {path}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    p = measuring.parser(NAME, "Measure start-up against importing and compiling alone.")
    p.add_argument("--video", type=Path, metavar="FILE", help="default: a rendered one")
    p.add_argument("--network", default="road-unet", metavar="NAME|FILE.onnx")
    p.add_argument("--rounds", type=whole(1), default=11, metavar="N", help="default: 11")
    p.add_argument(
        "--rendered", type=whole(2), default=30, metavar="N",
        help="frames of the rendered video (default: 30)",
    )  # fmt: skip
    options = p.parse_args(given)
    return run(p.prog, lambda: _command(options, given))


if __name__ == "__main__":
    sys.exit(main())
