"""Write the tables and plots of measured results in the documents from the result files.

Nothing is typed in by hand: the tests hold both to what this gives.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.result_words import read, sized, source
from benchmarks.table_int8 import int8
from benchmarks.table_speed import BENCHES, bench, choice, kept, scale
from rtseg.atomic import write_atomically
from rtseg.cli.arguments import Parser, run
from rtseg.errors import InputError

PROG = "python -m benchmarks.table"
BEGIN = "<!-- results: written by python -m benchmarks.table -->"
END = "<!-- end of results -->"


def _peers(folder: Path) -> list[str]:
    result = read(folder, "peers")
    figures = result["figures"]
    times = figures["ms_per_frame"]
    best = times[figures["best_of_road_unet"]]["median"]
    width, height = result["settings"]["size"]
    lines = [
        f"**Speed**, {width}×{height}, one frame in, one full-size mask out, two classes, all in "
        "one run and in turns:",
        "",
        "| | ms a frame | FPS | times the best |",
        "|---|---|---|---|",
    ]
    for label, spread in times.items():
        median = spread["median"]
        lines.append(f"| {label} | {median:.2f} | {1000 / median:.0f} | {median / best:.1f} |")
    note = (
        "SMP is segmentation_models.pytorch's U-Net on the same encoder. The library needs a "
        "torchvision that has no CPU build here, so its topology is built anew in "
        "`benchmarks/smp_unet.py`; compared with the library once, parameters, FLOPs and logits "
        "were the same."
    )
    return [*lines, "", note, "", source(result)]


_SETS = {
    "camvid_val": "CamVid val",
    "held_out_drives": "rendered drive, held out",
    "kitti_road": "KITTI road, 2 frames",
}


def _road(iou: dict[str, float]) -> float:
    return next(value for name, value in iou.items() if name.lower() == "road")


def _accuracy(network: str) -> Callable[[Path], list[str]]:
    """What a network's card says: every engine at every size, and each class."""

    def table(folder: Path) -> list[str]:
        result = read(folder, f"accuracy-{network}")
        lines: list[str] = []
        for figures in result["figures"]["sizes"]:
            present = {key: label for key, label in _SETS.items() if key in figures}
            lines += [
                f"**{sized(figures['size'])}**, whole set, mIoU (road IoU):",
                "",
                f"| engine | {' | '.join(present.values())} | agrees with {figures['reference']} |",
                f"|---{'|---' * len(present)}|---|",
            ]
            for engine, share in figures["agreement"].items():
                scores = [figures[key][engine] for key in present]
                cells = [f"{s['miou']:.4f} ({_road(s['iou']):.4f})" for s in scores]
                lines.append(f"| {engine} | {' | '.join(cells)} | {100 * share:.3f} % |")
            lines.append("")
        if len(result["settings"]["classes"]) > 2:
            lines += [*_classes(result), ""]
        return [*lines, source(result)]

    return table


def _classes(result: dict[str, Any]) -> list[str]:
    """Each class's IoU on CamVid val, by the engine that is the default."""
    columns = [
        (sized(figures["size"]), figures["camvid_val"][figures["default"]]["iou"])
        for figures in result["figures"]["sizes"]
    ]
    lines = [
        f"IoU of each class, CamVid val, {result['figures']['sizes'][0]['default']}:",
        "",
        f"| class | {' | '.join(label for label, _ in columns)} |",
        f"|---{'|---' * len(columns)}|",
    ]
    for name in columns[0][1]:
        cells = [f"{iou[name]:.3f}" for _, iou in columns]
        lines += [f"| {name} | {' | '.join(cells)} |"]
    return lines


def _zoo(folder: Path) -> list[str]:
    """One line a network and size, of the engine that is the default."""
    lines = [
        "**Accuracy** of the published networks, whole sets, mIoU (road IoU):",
        "",
        f"| network | size | engine | {' | '.join(_SETS.values())} |",
        f"|---|---|---|{'---|' * len(_SETS)}",
    ]
    results = [read(folder, path.stem) for path in sorted(folder.glob("accuracy-*.json"))]
    for result in results:
        for figures in result["figures"]["sizes"]:
            engine = figures["default"]
            scores = [figures[key][engine] if key in figures else None for key in _SETS]
            cells = [f"{s['miou']:.4f} ({_road(s['iou']):.4f})" if s else "–" for s in scores]
            name = result["settings"]["network"]
            lines.append(
                f"| `{name}` | {sized(figures['size'])} | {engine} | {' | '.join(cells)} |"
            )
    note = "On KITTI's frames, of which only the carriageway is labelled, all other classes are background."
    return [*lines, "", note, "", *(source(result) + "\n" for result in results)]


def _loop(folder: Path) -> list[str]:
    live, startup, memory = (read(folder, name) for name in ("live", "startup", "memory"))
    figures = live["figures"]
    width, height = live["settings"]["picture"]
    grown = memory["figures"]["headless"]
    rows = [
        (
            f"live FPS on {width}×{height} H.264 ÷ the bare engine's",
            f"{figures['live_fps']['median']:.0f} ÷ {figures['bare_fps']['median']:.0f} = "
            f"{figures['live_share_of_bare']['of_medians']:.2f}",
            "≥ 0.80",
        ),
        (
            "host work a frame (resize, paint, text) ÷ the engine's time",
            f"{figures['host_in_loop']['ms_per_frame']:.2f} ms ÷ "
            f"{figures['engine_ms_per_frame']:.2f} ms = "
            f"{figures['host_in_loop']['share_of_engine_time']:.2f}",
            "≤ 0.25",
        ),
        *(
            (
                f"start to first painted frame, engine cache {state} ÷ bare imports and compiling",
                f"{startup['figures'][f'{name}_to_bare']['of_medians']:.2f}",
                "≤ 1.5",
            )
            for name, state in (("cold", "empty"), ("warm", "filled"))
        ),
        (
            f"memory growth over {grown['frames']:,} frames",
            f"{grown['growth_bytes'] / 1e6:.1f} MB",
            "< 5 MB",
        ),
    ]
    lines = ["**The live loop:**", "", "| | measured | bar |", "|---|---|---|"]
    lines += [f"| {what} | {measured} | {bar} |" for what, measured, bar in rows]
    cpu = figures["cpu_ms_per_frame"]
    note = (
        f"The loop shares the cores with the engine: it takes {cpu['live']:.1f} ms of CPU time a frame, "
        f"the engine {cpu['bare']:.1f} of them, so that {cpu['share_bound']:.2f} is the most that can be "
        f"left. Decoding, {figures['stages_ms']['live.decode_ms']:.1f} ms by the clock, is most of the "
        "rest."
    )
    return [*lines, "", note, "", *(source(result) + "\n" for result in (live, startup, memory))]


def _architectures(folder: Path) -> list[str]:
    if not (folder / "architectures.json").exists():
        return ["Not measured yet: `python -m benchmarks.architectures` trains and measures."]
    result = read(folder, "architectures")
    figures, settings = result["figures"], result["settings"]
    rows = figures["architectures"]
    width, height = settings["size"]
    head = (
        "architecture", "mIoU", "pixel accuracy", "FPS", "FPS, times the first", "parameters, M",
        "GFLOP", "logits' stride", "training, CPU min",
    )  # fmt: skip
    lines = [
        f"**CamVid val**, {len(settings['classes'])} classes, {settings['camvid_val_frames']} "
        f"frames, {width}×{height}, on {settings['engine']['backend']}:",
        "",
        f"| {' | '.join(head)} |",
        "|---" * len(head) + "|",
    ]
    for row in sorted(rows.values(), key=lambda r: -r["miou"]):
        # The bases are times a frame, so that the ratio of the first's to another's is of FPS.
        cells = (
            row["label"], f"{row['miou']:.4f}", f"{row['pixel_accuracy']:.4f}",
            f"{row['fps']:.1f}", f"{row['fps_to_reference']['of_medians']:.2f}",
            f"{row['parameters'] / 1e6:.2f}", f"{row['flop'] / 1e9:.2f}",
            str(row["logits_stride"]), f"{row['training_cpu_seconds'] / 60:.0f}",
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    first = rows[figures["reference"]]
    where = "; ".join(sorted({row["trained_on"] for row in rows.values()}))
    note = (
        f"The first is {first['label']}. Each was trained once, {first['epochs']} epochs, on {where}; "
        "the minutes are of the processor, validations included. The speeds are medians of "
        f"{figures['quiet']['rounds']} rounds, {figures['quiet']['quiet_rounds']} of them quiet."
    )
    best = ", ".join(
        f"{rows[name]['label']} ({rows[name]['fps']:.0f} FPS, {rows[name]['miou']:.3f})"
        for name in figures["front"]
    )
    choose = f"No other is both as fast and as accurate as any of these: {best}."
    plot = "![Frames a second against mIoU](architectures.png)"
    return [*lines, "", note, "", choose, "", plot, "", source(result)]


DOCUMENTS = {
    Path("README.md"): (bench("bench-road", "docs/"), choice, _peers, _zoo, _loop),
    **{
        Path(f"train/{network}.md"): (_accuracy(network),)
        for network in ("road-unet", "road-fcn8s", "street-unet", "street-fcn8s")
    },
    Path("docs/architectures.md"): (_architectures,),
    Path("docs/measured.md"): (bench("bench-street"),),
    Path("docs/scale.md"): (scale, kept),
    Path("docs/engines.md"): (int8,),
}
"""Which tables each document has between its marks."""


def with_tables(text: str, document: Path, folder: Path) -> str:
    """Return a document's text with its tables made anew.

    ``InputError`` for a document without the marks, or a missing result.
    """
    before, mark, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise InputError(f"{document}: lacks the marks {BEGIN} and {END}")
    tables = "\n\n".join("\n".join(table(folder)).strip() for table in DOCUMENTS[document])
    return f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}"


def _write(options: argparse.Namespace) -> int:
    for document in DOCUMENTS:
        path = options.root / document
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise InputError(f"{path}: cannot read it: {error.strerror}") from error
        write_atomically(path, with_tables(text, document, options.results).encode())
    from rtseg.cli.bench_plot import write_plot

    for name in BENCHES:
        write_plot(read(options.results, name), options.root / "docs" / f"{name}.png")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    p = Parser(PROG, "Write the tables and plots in the documents from the result files.")
    p.add_argument("--root", type=Path, default=Path(), metavar="DIR", help="the repository")
    p.add_argument("--results", type=Path, default=Path("benchmarks/results"), metavar="DIR")
    options = p.parse_args(arguments)
    return run(PROG, lambda: _write(options))


if __name__ == "__main__":
    sys.exit(main())
