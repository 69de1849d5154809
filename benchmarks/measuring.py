"""What the benchmarks share: turns in rounds, medians and their spread, and the JSON result.

A small machine with shared cores drifts twofold within minutes. So everything that is compared
takes turns inside one run (A B C, B C A, C A B, …), figures are ratios of medians, and every round
tells how much of the machine others used meanwhile.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rtseg.atomic import write_atomically
from rtseg.cli.arguments import Parser
from rtseg.engine.machine import usable_cores
from rtseg.errors import OutputError

_PACKAGES = (
    "rtseg", "numpy", "opencv-python", "opencv-python-headless", "openvino", "onnxruntime", "onnx",
    "onnxscript", "torch", "av", "rich",
)  # fmt: skip

QUIET_SHARE = 0.05
"""A round is quiet when others, the hypervisor included, took less than this share of the cores."""


def parser(name: str, description: str, epilog: str | None = None) -> Parser:
    """Make the argument parser of ``python -m benchmarks.NAME``, with its ``--out``."""
    p = Parser(f"python -m benchmarks.{name}", description, epilog)
    p.add_argument(
        "--out", type=Path, default=Path("benchmarks/results"), metavar="DIR",
        help="where the JSON result goes (default: benchmarks/results)",
    )  # fmt: skip
    return p


def machine() -> dict[str, Any]:
    """Describe the machine: processor, cores, memory, kernel."""
    model = platform.processor() or platform.machine()
    flags: list[str] = []
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        told: dict[str, str] = {}
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            told[key.strip()] = value.strip()
        model = told.get("model name", model)
        wanted = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")
        flags = [flag for flag in wanted if flag in told.get("flags", "").split()]
    return {
        "processor": model,
        "vector_extensions": flags,
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def versions() -> dict[str, str]:
    """Tell the versions of Python and of every package that takes part, where installed."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


class OthersClock:
    """Tells which share of the cores others use: all busy and stolen time less this process's own.

    Children of this process count as its own once they have been waited for. NaN where the kernel
    has no ``/proc/stat``.
    """

    def __init__(self) -> None:
        self._last = self._read()

    @staticmethod
    def _read() -> tuple[float, float, float]:
        try:
            with Path("/proc/stat").open(encoding="ascii") as file:
                ticks = [int(text) for text in file.readline().split()[1:9]]
        except OSError:
            return math.nan, math.nan, math.nan
        user, nice, system, idle, iowait, irq, softirq, steal = ticks
        hertz = os.sysconf("SC_CLK_TCK")
        busy = (user + nice + system + irq + softirq + steal) / hertz
        own = os.times()
        return busy, busy + (idle + iowait) / hertz, sum(own[:4])

    def lap(self) -> float:
        """Return the others' share (0–1) since the last call."""
        now = self._read()
        busy, total, own = (b - a for a, b in zip(self._last, now, strict=True))
        self._last = now
        if not total > 0:
            return math.nan
        return min(1.0, max(0.0, (busy - own) / total))


Turn = Callable[[], float | Mapping[str, float]]
"""Does one turn's work and returns its sample, or several samples by name."""


def interleave(turns: Mapping[str, Turn], rounds: int) -> dict[str, list[float]]:
    """Give every turn its go in each of ``rounds`` rounds; returns all samples by name.

    Each round starts with another turn, so that none is always the one after a certain other. A
    turn that returns several samples has each under ``turn.sample``. ``others_share`` has the share
    of the cores that others used during each round.
    """
    order = list(turns)
    samples: dict[str, list[float]] = {}
    clock = OthersClock()
    say = sys.stderr.isatty()
    for number in range(rounds):
        first = number % len(order)
        for name in order[first:] + order[:first]:
            if say:
                print(f"\r\033[Kround {number + 1} of {rounds}: {name}", end="", file=sys.stderr)
            given = turns[name]()
            if isinstance(given, Mapping):
                for key, value in given.items():
                    samples.setdefault(f"{name}.{key}", []).append(value)
            else:
                samples.setdefault(name, []).append(given)
        samples.setdefault("others_share", []).append(clock.lap())
    if say:
        print("\r\033[K", end="", file=sys.stderr)
    return {key: [round(v, 6) for v in values] for key, values in samples.items()}


def spread(samples: Sequence[float]) -> dict[str, float]:
    """Sum samples up: median, quartiles, extremes, and (p75 - p25) / median as ``spread``."""
    median = statistics.median(samples)
    if len(samples) > 1:
        low, _, high = statistics.quantiles(samples, n=4, method="inclusive")
    else:
        low = high = median
    return {
        "median": median,
        "p25": low,
        "p75": high,
        "min": min(samples),
        "max": max(samples),
        "spread": (high - low) / median if median else 0.0,
    }


def ratio(above: Sequence[float], below: Sequence[float]) -> dict[str, float]:
    """Compare two interleaved series: the ratio of their medians, and how it varied by round."""
    by_round = [a / b for a, b in zip(above, below, strict=True)]
    inner = spread(by_round)
    return {
        "of_medians": statistics.median(above) / statistics.median(below),
        "p25": inner["p25"],
        "p75": inner["p75"],
        "min": inner["min"],
        "max": inner["max"],
    }


def quiet(samples: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Classify a run by ``others_share``: how many of its rounds had the machine to themselves."""
    shares = samples["others_share"]
    known = [share for share in shares if math.isfinite(share)]
    return {
        "rounds": len(shares),
        "quiet_rounds": sum(share < QUIET_SHARE for share in known),
        "median_others_share": statistics.median(known) if known else None,
    }


def rounded(value: Any, digits: int = 5) -> Any:
    """Round every float in plain JSON values to significant digits; NaN and infinity become None."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: rounded(inner, digits) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(inner, digits) for inner in value]
    return value


def _shown(argument: str) -> str:
    """An argument as a result shows it: where this machine keeps its files is nobody's business."""
    path = Path(argument)
    return path.name if path.is_absolute() or ".." in path.parts else argument


def write_result(
    out: Path,
    name: str,
    command: Sequence[str],
    *,
    settings: Mapping[str, Any],
    samples: Mapping[str, Any],
    figures: Mapping[str, Any],
    of: str | None = None,
) -> Path:
    """Write ``out/NAME.json``, whole or not at all; returns its path. ``OutputError`` on failure.

    ``of`` names what was measured, where each has a result of its own: ``out/NAME-OF.json``.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: cannot make this folder: {error.strerror}") from error
    values = {
        "benchmark": name,
        "command": " ".join((f"python -m benchmarks.{name}", *map(_shown, command))),
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "machine": machine(),
        "versions": versions(),
        "settings": settings,
        "figures": rounded(figures),
        "samples": rounded(samples, 7),
    }
    path = out / (f"{name}-{of}.json" if of else f"{name}.json")
    text = json.dumps(values, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    write_atomically(path, text.encode())
    return path


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table to standard output: the first column is text, the others are figures."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left")
    for row in rows:
        table.add_row(*row)
    Console(file=sys.stdout).print(table, highlight=False)


def verdict(reached: bool) -> str:
    """Say whether a bar was reached, for a table's cell."""
    return "[green]reached[/green]" if reached else "[red]missed[/red]"
