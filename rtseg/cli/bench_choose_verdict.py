"""Which engine ``rtseg-bench choose`` takes, and why, as a line and a table."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

from rtseg.cli.bench_choose_turns import Candidate
from rtseg.data.labels import ClassTable
from rtseg.evaluation.machine import QUIET_SHARE

EQUAL = 0.002
"""Engines whose streaming mIoU differs by no more than this count as equal: the faster is taken."""


def _streamed(candidate: Candidate, fps: float) -> float:
    """Streaming mIoU; below all others where there is none."""
    value = candidate.streamed[fps].miou.miou
    return -1.0 if math.isnan(value) else value


def best_of(candidates: Sequence[Candidate], fps: float) -> Candidate:
    """Return the one of the best streaming mIoU, of those within :data:`EQUAL` the fastest."""
    highest = max(_streamed(candidate, fps) for candidate in candidates)
    near = [c for c in candidates if _streamed(c, fps) >= highest - EQUAL]
    return min(near, key=lambda candidate: candidate.latency_ms(50))


def verdict(candidates: Sequence[Candidate], fps: float) -> str:
    """Say in one line which is best at a frame rate, and why."""
    best = best_of(candidates, fps)
    value = _streamed(best, fps)
    line = (
        f"At {fps:g} FPS: {best.name}: streaming mIoU {value:.4f} "
        f"(offline {best.offline.miou:.4f}), a mask in {best.latency_ms(50):.1f} ms"
    )
    others = [c for c in candidates if c is not best]
    if not others:
        return f"{line}; it is the only one"
    finest = max(others, key=lambda c: c.offline.miou)
    late = _streamed(finest, fps)
    if finest.offline.miou > best.offline.miou + EQUAL and late < value - EQUAL:
        return (
            f"{line}; {finest.name} is more accurate offline ({finest.offline.miou:.4f}), but its "
            f"masks take {finest.latency_ms(50):.1f} ms and come too late: {late:.4f}"
        )
    second = best_of(others, fps)
    next_value = _streamed(second, fps)
    if abs(next_value - value) <= EQUAL:
        return (
            f"{line}; {second.name} is as good ({next_value:.4f}) and slower, "
            f"{second.latency_ms(50):.1f} ms"
        )
    return f"{line}; next is {second.name}: {next_value:.4f}, {second.latency_ms(50):.1f} ms"


def others_line(share: float) -> str:
    """Say that others used ``share`` (0–1) of the cores while it was measured; "" if hardly any."""
    if share < QUIET_SHARE:
        return ""
    return f"Others used {share:.0%} of the cores meanwhile: on an idle machine figures are better."


def print_choice(
    candidates: Sequence[Candidate], classes: ClassTable, rates: Sequence[float]
) -> None:
    """Print the table, and a line a frame rate."""
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=f"mIoU over {', '.join(classes.names)}; streaming at each frame rate",
        title_justify="left",
    )
    for column in ("network", "engine"):
        table.add_column(column, overflow="fold")
    for column in ("p50, ms", "p95, ms", "offline", *(f"{fps:g} FPS" for fps in rates), "TC"):
        table.add_column(column, justify="right")
    chosen = {fps: best_of(candidates, fps) for fps in rates}
    for candidate in candidates:
        spec, engine = candidate.spec, candidate.engine
        cells = []
        for fps in rates:
            cell = f"{candidate.streamed[fps].miou.miou:.4f}"
            cells.append(f"[bold]{cell}[/bold]" if chosen[fps] is candidate else cell)
        table.add_row(
            f"{spec.name} {spec.width}×{spec.height}",
            f"{engine.backend} {engine.precision}",
            *(f"{candidate.latency_ms(share):.1f}" for share in (50, 95)),
            f"{candidate.offline.miou:.4f}",
            *cells,
            f"{candidate.tc.tc:.4f}",
        )
    # What is not a terminal has no width of its own.
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 120)
    console.print(table, highlight=False)
    for fps in rates:
        console.print(verdict(candidates, fps), highlight=False, markup=False, soft_wrap=True)
