"""A result of ``rtseg-bench`` as a table: in the terminal, as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rtseg.evaluation.bench_result import label

_WIDE = 112
"""Columns of a terminal from which on the whole table fits."""
_PEAK = "●"

_Row = Mapping[str, Any]


def figure(value: float | None, digits: int = 3) -> str:
    """A number with so many digits that mean something; a dash where there is none."""
    if value is None:
        return "–"
    magnitude = math.floor(math.log10(abs(value))) if value else 0
    return f"{value:.{max(0, digits - 1 - magnitude)}f}"


def _fixed(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _share(value: float | None) -> str:
    """A share in per cent; never rounded up to 100."""
    if value is None:
        return "–"
    return "100" if value == 1 else f"{min(value * 100, 99.99):.2f}"


def _plus_minus(found: Mapping[str, Any]) -> str:
    """Half the interval's width, or rather its longer half; a dash where one round says nothing."""
    low, high = found["interval"]
    if low == high:
        return "–"
    return "±" + figure(max(high - found["median"], found["median"] - low), 2)


def _engine(row: _Row) -> str:
    batch = f" ×{row['batch']}" if row["batch"] > 1 else ""
    return f"{row['backend']} {row['precision']}{batch}"


def _size(row: _Row) -> str:
    return "{}×{}".format(*row["size"])


def _joules(row: _Row) -> float | None:
    found: float | None = (row["gpu"] or {}).get("joules_a_frame")
    return row["processor_joules_a_frame"] if found is None else found


_COLUMNS: dict[str, Any] = {
    "network": lambda r: r["network"],
    "engine": _engine,
    "size": _size,
    "FPS": lambda r: figure(r["fps"]["median"]),
    "±95 %": lambda r: _plus_minus(r["fps"]),
    "p50 ms": lambda r: figure(r["latency_ms"]["p50"]),
    "p95": lambda r: figure(r["latency_ms"]["p95"]),
    "p99": lambda r: figure(r["latency_ms"]["p99"]),
    "max": lambda r: figure(r["latency_ms"]["max"]),
    "CPU ms": lambda r: figure(r["cpu_ms_a_frame"]["median"]),
    "MiB": lambda r: _fixed(r["memory_mib"]["peak"], 0),
    "J": lambda r: figure(_joules(r)),
    "mIoU": lambda r: _fixed(r["accuracy"]["miou"], 4),
    "parity %": lambda r: _share(r["accuracy"]["parity"]["share"]),
}
_NARROW = ("network", "engine", "size", "FPS", "±95 %", "p50 ms", "p99", "mIoU")
_TEXTS = 3


def _columns(rows: Sequence[_Row]) -> list[str]:
    """All columns but energy, where nobody has measured it."""
    return [name for name in _COLUMNS if name != "J" or any(_joules(r) is not None for r in rows)]


def notes(result: Mapping[str, Any]) -> list[str]:
    """What has to be said with the figures, a sentence each."""
    rows, data, quiet = result["rows"], result["data"], result["quiet"]
    settings = result["settings"]
    frames = f"{data['frames']} held-out frames of the rendered drive"
    if data["kind"] != "drive":
        frames = f"{data['frames']} frames of {data['folder']} ({data['kind']}, {data['split']})"
    references = {r["accuracy"]["parity"]["reference"] for r in rows} - {None}
    told = [
        f"Frame in, full-size mask out; {settings['rounds']} rounds of {settings['frames_a_turn']} "
        f"frames in turns, {settings['mode']} mode. FPS: median and 95 % bootstrap interval. Latency: "
        "submission to mask, every frame.",
        f"mIoU on {frames}, of the very engine."
        + (f" Parity: pixels equal to {' or '.join(sorted(references))}." if references else "")
        + f" {_PEAK} no other is both faster and more accurate.",
    ]
    if result["overhead"] is not None:
        own = result["overhead"]["ms_a_frame"]
        told.append(
            f"The benchmark itself takes {figure(own['median'], 2)} ms a frame "
            f"({figure(own['interval'][0], 2)}–{figure(own['interval'][1], 2)}), which is in the figures."
        )
    random = sorted({r["network"] for r in rows if r["weights"] == "random"})
    if random:
        told.append(f"With random weights, for speed alone: {', '.join(random)}.")
    share = quiet["median_others_share"]
    if share is not None and quiet["quiet_turns"] < quiet["turns"] / 2:
        told.append(
            f"Not a quiet machine: others took {share:.0%} of the cores in the median turn. Compare "
            "these rows with each other, not with other runs."
        )
    machine = result["machine"]
    cores = f"{machine['usable_cores']} cores of {machine['processor']}"
    gpu = f", {result['gpu']['name']}" if result["gpu"] else ""
    versions = {k: v for r in rows for k, v in r["versions"].items()}
    engines = ", ".join(
        f"{name} {version.partition('-')[0]}" for name, version in sorted(versions.items())
    )
    told.append(f"{result['date'][:10]}, {cores}{gpu}, rtseg {result['rtseg']}, {engines}.")
    return told


def print_result(result: Mapping[str, Any], console: Console | None = None) -> None:
    """Print the table and what has to be said with it, to standard output."""
    console = console or Console(file=sys.stdout, highlight=False)
    rows = result["rows"]
    names = _columns(rows) if console.width >= _WIDE else list(_NARROW)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for number, name in enumerate(names):
        text = number < _TEXTS
        table.add_column(
            name, justify="left" if text else "right", no_wrap=number > 0,
            overflow="fold", style="dim" if name == "±95 %" else None,
        )  # fmt: skip
    table.add_column("", no_wrap=True)
    for row in rows:
        best = label(row) in result["front"]
        cells = [Text(str(_COLUMNS[name](row)), style="bold" if best else "") for name in names]
        table.add_row(*cells, Text(_PEAK, style="green") if best else "")
    console.print()
    console.print(table)
    console.print()
    for note in notes(result):
        console.print(Text(note, style="dim"))


def print_comparison(comparison: Mapping[str, Any], console: Console | None = None) -> None:
    """Print what changed, to standard output."""
    console = console or Console(file=sys.stdout, highlight=False)
    wide = console.width >= _WIDE
    table = Table(
        title=f"Since {str(comparison['old']['date'])[:10]}", title_justify="left",
        box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0),
    )  # fmt: skip
    table.add_column("engine", overflow="fold")
    for name in (*(("FPS",) if wide else ()), "change", "to the ref.", "mIoU"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    colours = {"slower": "bold red", "faster": "green", "worse": "bold red", "better": "green"}
    for row in comparison["rows"]:
        accuracy = row["accuracy"]
        change = accuracy["change"]
        verdicts = [
            Text(verdict, style=colours.get(verdict, "dim"))
            for verdict in (row["verdict"], accuracy["verdict"])
            if verdict not in ("same", "not scored")
        ]
        before, after = row["fps"]
        table.add_row(
            row["label"],
            *((f"{figure(before)} → {figure(after)}",) if wide else ()),
            _changed(row["speed"], wide),
            _changed(row["relative"], wide),
            "–" if change is None else f"{change:+.4f}",
            Text(", ").join(verdicts) if verdicts else Text("same", style="dim"),
        )
    console.print()
    console.print(table)
    console.print()
    for words, labels in (
        ("Does not run any more", comparison["failed"]),
        ("Not measured this time", comparison["missing"]),
        ("New", comparison["added"]),
    ):
        if labels:
            console.print(Text(f"{words}: {', '.join(labels)}."))
    if any(row["verdict"] == "machine" for row in comparison["rows"]):
        console.print(
            Text(
                f"machine: changed as the reference row, {comparison['reference']}, did: the machine, "
                "not the engine.",
                style="dim",
            )
        )
    if not comparison["rows"]:
        console.print(Text("The two results have no engine in common."))
    elif comparison["worse"]:
        console.print(Text("Worse beyond noise.", style="bold red"))
    else:
        console.print(Text("Nothing got worse beyond noise.", style="green"))


def _changed(change: Mapping[str, Any] | None, wide: bool) -> str:
    """A ratio in per cent, with its interval where there is room."""
    if change is None:
        return "–"
    low, high = change["interval"]
    interval = f" ({(low - 1) * 100:+.1f} to {(high - 1) * 100:+.1f})" if wide else ""
    return f"{(change['ratio'] - 1) * 100:+.1f}%{interval}"


def as_markdown(result: Mapping[str, Any]) -> str:
    """Return the table as Markdown, with what has to be said with it."""
    rows = result["rows"]
    names = _columns(rows)
    rule = ["---" if i < _TEXTS else "---:" for i in range(len(names))]
    lines = [names, rule]
    for row in rows:
        cells = [str(_COLUMNS[name](row)).replace("|", "\\|") for name in names]
        if label(row) in result["front"]:
            cells[0] = f"**{cells[0]}** {_PEAK}"
        lines.append(cells)
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    command = f"`{result['command']}`"
    return "\n\n".join((table, *notes(result), command)) + "\n"


def as_csv(result: Mapping[str, Any]) -> str:
    """Return a line of plain figures for each engine; a class's IoU is in ``iou CLASS``."""
    rows = result["rows"]
    classes = list(dict.fromkeys(name for r in rows for name in r["accuracy"]["iou"] or ()))
    records = []
    for row in rows:
        accuracy, latency, parity = row["accuracy"], row["latency_ms"], row["accuracy"]["parity"]
        gpu = row["gpu"] or {}
        width, height = row["size"]
        record = {
            "network": row["network"], "sha256": row["sha256"], "backend": row["backend"],
            "precision": row["precision"], "width": width, "height": height, "batch": row["batch"],
            "mode": row["mode"], "frames_in_flight": row["frames_in_flight"], "device": row["device"],
            "fps": row["fps"]["median"], "fps_low": row["fps"]["interval"][0],
            "fps_high": row["fps"]["interval"][1], "ms_a_frame": row["ms_a_frame"]["median"],
            **{f"latency_{name}_ms": latency[name] for name in ("p50", "p95", "p99", "max", "mean")},
            "cpu_ms_a_frame": row["cpu_ms_a_frame"]["median"],
            "peak_memory_mib": row["memory_mib"]["peak"],
            "gpu_joules_a_frame": gpu.get("joules_a_frame"), "gpu_watts": gpu.get("watts"),
            "gpu_clock_sm_mhz": gpu.get("clock_sm_mhz"),
            "processor_joules_a_frame": row["processor_joules_a_frame"],
            "miou": accuracy["miou"], "pixel_accuracy": accuracy["pixel_accuracy"],
            "parity": parity["share"], "parity_reference": parity["reference"],
            "pareto": label(row) in result["front"],
        }  # fmt: skip
        for name in classes:
            record[f"iou {name}"] = (accuracy["iou"] or {}).get(name)
        records.append(record)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()
