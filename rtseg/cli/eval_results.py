"""What ``rtseg-eval`` writes at the end, and prints: result, tables, report."""

from __future__ import annotations

import argparse
import json
import logging
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rtseg import __version__
from rtseg.atomic import write_atomically
from rtseg.cli.eval_folder import RESULT
from rtseg.cli.eval_source import Frames
from rtseg.engine import Engine
from rtseg.errors import UsageError
from rtseg.evaluation.machine import machine, versions
from rtseg.evaluation.records import Record
from rtseg.evaluation.reducing import reduce_records
from rtseg.evaluation.result_file import shown
from rtseg.evaluation.result_tables import classes_csv, frames_csv
from rtseg.evaluation.scoring import Loaded, Work, to_scored

if TYPE_CHECKING:
    from rtseg.evaluation.report import ReportPicture

log = logging.getLogger("rtseg")

_SHOWN = 6  # worst and best frames of the report, each


def make_result(
    command: Sequence[str],
    sha256: str,
    frames: Frames,
    engines: Sequence[Engine],
    devices: Sequence[str],
    records: Sequence[Record],
    speed: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what ``result.json`` holds."""
    engine, dataset = engines[0], frames.dataset
    spec, scored = engine.spec, dataset.scored
    return {
        "command": shlex.join(shown(part) for part in command),
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "rtseg": __version__,
        "versions": versions(),
        "machine": machine(),
        "network": {
            "name": spec.name,
            "sha256": sha256,
            "classes": list(spec.classes),
            "palette": [list(colour) for colour in spec.palette],
            "size": [spec.width, spec.height],
        },
        "engine": {
            "backend": engine.backend,
            "precision": engine.precision,
            "device": ", ".join(dict.fromkeys(engine.device for engine in engines)),
            "devices": list(devices) or ["default"],
            "batch": engine.batch,
            "frames_in_flight": sum(engine.depth * engine.batch for engine in engines),
        },
        "dataset": {
            "kind": dataset.kind,
            "folder": shown(dataset.folder),
            "split": dataset.split,
            "frames": len(records),
            "classes": None if scored is None else list(scored.classes.names),
            "palette": None if scored is None else [list(c) for c in scored.classes.colours],
            "note": "" if scored is None else scored.note,
        },
        **reduce_records(records, None if scored is None else scored.classes.names),
        "speed": dict(speed),
    }


def write_result(out: Path, result: Mapping[str, Any], records: Sequence[Record]) -> None:
    """Write ``result.json``, ``frames.csv`` and ``classes.csv``."""
    write_atomically(out / "frames.csv", frames_csv(result, records))
    if result["scores"] is not None:
        write_atomically(out / "classes.csv", classes_csv(result))
    text = json.dumps(result, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    write_atomically(out / RESULT, text.encode("utf-8", "surrogateescape"))


def write_report(
    out: Path,
    result: Mapping[str, Any],
    records: Sequence[Record],
    frames: Frames,
    engine: Engine,
    work: Work,
) -> None:
    """Write ``report.html``; one line in the log says what is missing for it."""
    from rtseg.evaluation import report

    try:
        report.require_report()
    except UsageError as error:
        log.info("%s", error, extra={"news": True})
        return
    pictures = _pictures(records, frames, engine, work)
    values = [record.as_dict() for record in records]
    report.write_report(out / "report.html", result, values, pictures)


def _pictures(
    records: Sequence[Record], frames: Frames, engine: Engine, work: Work
) -> list[ReportPicture]:
    """The worst and the best frames, read and segmented once more."""
    from rtseg.evaluation.report import ReportPicture

    def score(record: Record) -> tuple[float, int]:
        return record.miou or 0.0, record.index

    ranked = sorted((r for r in records if r.miou is not None), key=score)
    samples = {sample.index: sample for sample in frames.dataset.samples}
    found: list[ReportPicture] = []
    kinds: dict[Literal["worst", "best"], list[Record]] = {
        "worst": ranked[:_SHOWN],
        "best": ranked[: -_SHOWN - 1 : -1],
    }
    for kind, chosen in kinds.items():
        for record in chosen:
            loaded = work.load(samples[record.index])
            if not isinstance(loaded, Loaded) or loaded.truth is None:
                continue  # gone since it was scored
            mask = to_scored(engine.infer(loaded.small[None])[0], work.to_classes, loaded.truth)
            name, miou = record.name, record.miou or 0.0
            found.append(ReportPicture(name, kind, miou, loaded.picture, loaded.truth, mask))
    return found


def print_result(result: Mapping[str, Any], out: Path, options: argparse.Namespace) -> None:
    """Print the scores, the speed and where everything is."""
    from rich.console import Console
    from rich.table import Table

    console = Console(file=sys.stdout)
    network, engine, speed = result["network"], result["engine"], result["speed"]
    scores, counts = result["scores"], result["counts"]
    width, height = network["size"]
    title = f"{network['name']} {width}×{height}: {engine['backend']} {engine['precision']}"
    if scores is not None:
        table = Table(title=f"{title}, {counts['scored']} frames", title_justify="left")
        keys = ["iou", "precision", "recall", "dice"]
        keys += ["boundary_f1"] if scores["boundary_f1"] is not None else []
        table.add_column("class")
        for key in keys:
            table.add_column(
                {"iou": "IoU", "boundary_f1": "boundary F1"}.get(key, key), justify="right"
            )
        for name, values in scores["classes"].items():
            cells = [_figure(values[key]) for key in keys]
            table.add_row(name, *(cells if values["present"] else ["absent", *cells[1:]]))
        console.print(table, highlight=False)
        console.print(
            f"mIoU {_figure(scores['miou'])}, pixel accuracy {_figure(scores['pixel_accuracy'])}, "
            f"mean accuracy {_figure(scores['mean_accuracy'])}, Dice {_figure(scores['mean_dice'])}",
            highlight=False,
        )
    for space, categories in (result["kitti_road"] or {}).items():
        console.print(_road_table(space, categories), highlight=False)
    if speed["fps"] is not None:
        line = f"{speed['frames']} frames in {speed['seconds']:.1f} s: {speed['fps']:.1f} FPS"
        if speed["engine_fps"] is not None:
            line += (
                f"; the bare engine {speed['engine_fps']:.1f} FPS, of which the evaluation of decoded "
                f"pictures keeps {speed['efficiency']:.2f}"
            )
        console.print(line, highlight=False)
    console.print(str(out), highlight=False, markup=False, soft_wrap=True)


def _road_table(space: str, categories: Mapping[str, Any]) -> Any:
    from rich.table import Table

    where = {"bev": "bird's-eye view"}.get(space, space)
    table = Table(title=f"KITTI road, {where}", title_justify="left")
    table.add_column("category")
    for name in ("frames", "MaxF", "AP", "PRE", "REC", "FPR", "FNR"):
        table.add_column(name, justify="right")
    for name, values in categories.items():
        keys = ("maxf", "ap", "precision", "recall", "fpr", "fnr")
        table.add_row(name, str(values["frames"]), *(_figure(values[key]) for key in keys))
    return table


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
