"""What the benchmarks share: turns in rounds, medians and their spread, and the JSON result.

A small machine with shared cores drifts twofold within minutes. So everything that is compared
takes turns inside one run (A B C, B C A, C A B, …), figures are ratios of medians, and every round
tells how much of the machine others used meanwhile.
"""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rtseg.atomic import write_atomically
from rtseg.cli.arguments import Parser
from rtseg.errors import OutputError
from rtseg.evaluation.machine import QUIET_SHARE, OthersClock, machine, versions
from rtseg.evaluation.result_file import encode, rounded, shown

__all__ = [
    "QUIET_SHARE",
    "OthersClock",
    "Turn",
    "interleave",
    "machine",
    "parser",
    "print_table",
    "quiet",
    "ratio",
    "rounded",
    "spread",
    "verdict",
    "versions",
    "write_result",
]


def parser(name: str, description: str, epilog: str | None = None) -> Parser:
    """Make the argument parser of ``python -m benchmarks.NAME``, with its ``--out``."""
    p = Parser(f"python -m benchmarks.{name}", description, epilog)
    p.add_argument(
        "--out", type=Path, default=Path("benchmarks/results"), metavar="DIR",
        help="where the JSON result goes (default: benchmarks/results)",
    )  # fmt: skip
    return p


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
        "command": " ".join((f"python -m benchmarks.{name}", *map(shown, command))),
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "machine": machine(),
        "versions": versions(),
        "settings": settings,
        "figures": rounded(figures),
        "samples": rounded(samples, 7),
    }
    path = out / (f"{name}-{of}.json" if of else f"{name}.json")
    write_atomically(path, encode(values))
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
