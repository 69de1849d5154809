"""``rtseg-bench``: FPS alongside mIoU, for networks × backends × precisions × sizes × batches.

``rtseg-bench live`` and ``rtseg-bench choose`` are commands of their own, in ``bench_live`` and
``bench_choose``.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import logging
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtseg import __version__
from rtseg.cli.arguments import run
from rtseg.cli.bench_options import PROG, check, parser
from rtseg.cli.interrupts import Interrupts
from rtseg.errors import UsageError, require_extra

if TYPE_CHECKING:
    from rtseg.evaluation.contender import Contender
    from rtseg.evaluation.frames import Frames

_COMMANDS = {"live": "rtseg.cli.bench_live", "choose": "rtseg.cli.bench_choose"}
_PEERS_ON = ("openvino", "onnxruntime")

log = logging.getLogger("rtseg")


class _Said:
    """What is going on, on one line of a terminal."""

    def __init__(self) -> None:
        self._seen = sys.stderr is not None and sys.stderr.isatty()

    def __call__(self, text: str) -> None:
        if self._seen:
            print(f"\r\033[K{text[:78]}", end="", file=sys.stderr, flush=True)


def _contenders(
    options: argparse.Namespace, folder: Path
) -> tuple[list[Contender], list[dict[str, Any]]]:
    """Return every combination that was asked for, and those that could not even be made."""
    from rtseg.engine import find_network
    from rtseg.engine.backends import KNOWN, installed
    from rtseg.evaluation.contender import Contender

    for backend in filter(None, options.backend):
        if backend not in KNOWN:
            raise UsageError(f"unknown backend {backend!r}: one of {', '.join(KNOWN)}")
    networks = options.network or ["road-unet"]
    specs = [find_network(network).spec for network in networks]  # a wrong name is told at once
    contenders = [
        Contender(network, backend, precision, size, batch, options.mode)
        for network, backend, precision, size, batch in itertools.product(
            networks, options.backend, options.precision, options.size, options.batch
        )
    ]
    if not options.peer:
        return contenders, []
    from rtseg.cli.bench_peers import make_peers

    backends = options.backend
    if backends == [None]:
        backends = [name for name in _PEERS_ON if installed(KNOWN[name])]
    engines = list(itertools.product(backends, options.precision, options.batch))
    like = ((specs[0].width, specs[0].height), len(specs[0].classes))
    peers, failed = make_peers(
        options.peer, options.size, engines, options.mode, like=like, folder=folder
    )
    return contenders + peers, failed


def _frames(options: argparse.Namespace, folder: Path) -> Frames:
    from rtseg.evaluation.frames import open_frames, render_drive

    if options.data is None:
        return render_drive(folder, options.limit)
    return open_frames(options.data, options.kind, options.split, options.limit)


@contextmanager
def _building(name: str) -> Iterator[Any]:
    from rtseg.cli.build_progress import MaybeBuilding

    with MaybeBuilding(PROG, name) as progress:
        yield progress


def _measure(options: argparse.Namespace, command: list[str]) -> dict[str, Any]:
    """Measure, and return the result as docs/bench.md describes it."""
    from rtseg.evaluation import bench_result
    from rtseg.evaluation.contest import Contest
    from rtseg.evaluation.machine import machine, versions
    from rtseg.evaluation.nvidia import gpu_facts, summed_up
    from rtseg.evaluation.result_file import rounded, shown
    from rtseg.evaluation.speed import WARM_UP

    say = _Said()
    with tempfile.TemporaryDirectory(prefix="rtseg-bench-") as name:
        folder = Path(name)
        say("looking for the networks")
        contenders, failed = _contenders(options, folder)
        say("reading the frames")
        frames = _frames(options, folder)
        described = frames.describe()
        began = machine()  # its load average is that before this command's own
        contest = Contest(contenders, frames, folder, say, _building)
        try:
            contest.run(options.rounds, options.frames)
        finally:
            say("")
    if not contest.running:
        raise UsageError("nothing to measure: this machine can run none of these combinations")
    rows = [bench_result.row(entry) for entry in contest.running]
    failed += [
        {**entry.describe(), "error": entry.failed}
        for entry in contest.entries
        if entry.failed is not None and not entry.twice
    ]
    gpu = gpu_facts()
    values = {
        "benchmark": bench_result.BENCHMARK,
        "format": bench_result.FORMAT,
        "command": " ".join(map(shown, command)),
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "rtseg": __version__,
        "machine": began,
        "versions": versions(),
        "gpu": None if gpu is None else {**gpu, "in_the_rounds": summed_up(contest.samples)},
        "settings": {
            "rounds": options.rounds, "frames_a_turn": options.frames, "mode": options.mode,
            "warm_up": WARM_UP, "job": "uint8 BGR frame to uint8 mask at the frame's size",
        },
        "data": described,
        "overhead": bench_result.overhead(contest.idle),
        "quiet": bench_result.quiet(rows),
        "front": bench_result.front(rows),
        "rows": rows,
        "failed": failed,
    }  # fmt: skip
    plain: dict[str, Any] = rounded(values, 7)
    return plain


def _bench(options: argparse.Namespace, command: list[str]) -> int:
    from rtseg.atomic import require_writable, write_atomically
    from rtseg.cli.bench_peers import require_peers
    from rtseg.evaluation.bench_result import read_result
    from rtseg.evaluation.comparison import compare
    from rtseg.evaluation.result_file import encode, rounded

    for path in (options.json, options.csv, options.markdown, options.plot):
        if path is not None:
            require_writable(path)
    if options.plot is not None:
        require_extra("--plot", "report", "matplotlib")
    require_peers(options.peer)
    old = None if options.compare is None else read_result(options.compare)
    result = _measure(options, command)
    if old is not None:
        result["comparison"] = rounded(compare(old, result), 7)
    if options.json is not None:
        write_atomically(options.json, encode(result))

    from rtseg.cli.bench_table import as_csv, as_markdown, print_comparison, print_result

    if options.csv is not None:
        write_atomically(options.csv, as_csv(result).encode())
    if options.markdown is not None:
        write_atomically(options.markdown, as_markdown(result).encode())
    if options.plot is not None:
        from rtseg.cli.bench_plot import write_plot

        write_plot(result, options.plot)
    print_result(result)
    if old is None:
        return 0
    print_comparison(result["comparison"])
    return 1 if result["comparison"]["worse"] else 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    if given and given[0] in _COMMANDS:
        return int(importlib.import_module(_COMMANDS[given[0]]).main(given[1:]))
    p = parser()
    options = p.parse_args(given)
    check(options, p)

    def command() -> int:
        with Interrupts(own_process=False) as interrupts:
            try:
                return _bench(options, [PROG, *given])
            except KeyboardInterrupt:
                return interrupts.status

    return run(PROG, command)


if __name__ == "__main__":
    sys.exit(main())
