"""From the turns of a contest to the figures of a result; docs/bench.md describes the fields."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rtseg.errors import InputError, one_line
from rtseg.evaluation.bootstrap import median_interval, percentile, percentile_intervals
from rtseg.evaluation.contest import Entry
from rtseg.evaluation.histogram import BINS_PER_DECADE, histogram
from rtseg.evaluation.machine import QUIET_SHARE
from rtseg.evaluation.nvidia import summed_up
from rtseg.evaluation.pareto import pareto_front

BENCHMARK = "rtseg-bench"
FORMAT = 2
"""The version of the result's form; the first had no number."""

_SHARES = {"p50": 50.0, "p95": 95.0, "p99": 99.0}

Row = dict[str, Any]


def label(row: Mapping[str, Any]) -> str:
    """An engine in words: network, backend, precision, size, and its batch where it is not 1."""
    width, height = row["size"]
    batch = f" batch {row['batch']}" if row["batch"] > 1 else ""
    return f"{row['network']} {row['backend']} {row['precision']} {width}×{height}{batch}"


def _of_rounds(samples: Sequence[float]) -> dict[str, Any]:
    return {"median": statistics.median(samples), "interval": list(median_interval(samples))}


def speed(entry: Entry) -> Row:
    """Return what the turns of an entry say: speed, latency, CPU time, and the raw samples."""
    turns = entry.turns
    ms = [turn.seconds / turn.frames * 1e3 for turn in turns]
    a_frame = _of_rounds(ms)
    low, high = a_frame["interval"]
    latencies = [turn.latencies_ms for turn in turns]
    pooled = [value for part in latencies for value in part]
    intervals = percentile_intervals(latencies, list(_SHARES.values()))
    joules = [turn.joules / turn.frames for turn in turns if turn.joules is not None]
    return {
        "ms_a_frame": a_frame,
        "fps": {"median": 1e3 / a_frame["median"], "interval": [1e3 / high, 1e3 / low]},
        "latency_ms": {
            "count": len(pooled),
            "mean": statistics.fmean(pooled),
            "min": min(pooled),
            **{name: percentile(pooled, share) for name, share in _SHARES.items()},
            "max": max(pooled),
            "intervals": dict(zip(_SHARES, map(list, intervals), strict=True)),
            "histogram": {"bins_per_decade": BINS_PER_DECADE, "counts": histogram(pooled)},
        },
        "cpu_ms_a_frame": _of_rounds([turn.cpu_seconds / turn.frames * 1e3 for turn in turns]),
        "cpu_seconds": sum(turn.cpu_seconds for turn in turns),
        "processor_joules_a_frame": statistics.median(joules) if joules else None,
        "samples": {
            "frames": [turn.frames for turn in turns],
            "seconds": [turn.seconds for turn in turns],
            "cpu_seconds": [turn.cpu_seconds for turn in turns],
            "others_share": [turn.others_share for turn in turns],
            "latency_ms": [[round(value, 4) for value in part] for part in latencies],
        },
    }


def _gpu(entry: Entry) -> Row | None:
    """Return the energy and the clocks under a load that lasts; None where nothing was sampled."""
    if entry.load is None:
        return None
    turn, samples = entry.load
    found = summed_up(samples)
    watts = found["watts"]
    each = None if watts is None else watts * turn.seconds / turn.frames
    return {"joules_a_frame": each, **found}


def row(entry: Entry) -> Row:
    """Return the row of an entry that was measured."""
    return {**entry.facts, "accuracy": entry.accuracy, **speed(entry), "gpu": _gpu(entry)}


def overhead(entry: Entry | None) -> Row | None:
    """Return what the benchmark itself takes, from the null engine's turns; None without them."""
    if entry is None or not entry.turns:
        return None
    return {"size": entry.facts["size"], "batch": entry.facts["batch"], **speed(entry)}


def front(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the labels of the rows that no other beats in both FPS and mIoU, the slowest first."""
    points = {
        label(row): (row["fps"]["median"], row["accuracy"]["miou"])
        for row in rows
        if row["accuracy"]["miou"] is not None
    }
    return pareto_front(points)


def quiet(rows: Sequence[Mapping[str, Any]]) -> Row:
    """Say how much others used the cores: the turns that were quiet, and the median share."""
    shares = [s for row in rows for s in row["samples"]["others_share"] if s is not None]
    known = [share for share in shares if math.isfinite(share)]
    return {
        "turns": sum(len(row["samples"]["others_share"]) for row in rows),
        "quiet_turns": sum(share < QUIET_SHARE for share in known),
        "median_others_share": statistics.median(known) if known else None,
    }


def read_result(path: Path) -> dict[str, Any]:
    """Read a result; ``InputError`` where it is none, or one of another version's."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot read this result: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a result of {BENCHMARK}: {one_line(error)}") from error
    if not isinstance(values, dict) or values.get("benchmark") != BENCHMARK:
        raise InputError(f"{path}: not a result of {BENCHMARK}: write one with --json")
    if values.get("format") != FORMAT:
        raise InputError(
            f"{path}: a result of another form ({values.get('format')!r}, this rtseg has {FORMAT}): "
            "measure anew with --json"
        )
    try:
        for found in values["rows"]:
            label(found)
            lengths = {len(found["samples"][name]) for name in ("frames", "seconds")}
            if len(lengths) != 1 or not found["samples"]["seconds"]:
                raise ValueError("rounds are missing")
            if min(found["samples"]["seconds"] + found["samples"]["frames"]) <= 0:
                raise ValueError("a turn without time or frames")
            for key in ("sha256", "mode", "accuracy", "fps"):
                found[key]
            found["accuracy"]["miou"]
        values["data"], values["failed"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: this result is not whole: {one_line(error)}") from error
    return values
