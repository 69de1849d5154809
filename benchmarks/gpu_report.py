"""The result for people: a Markdown document, a table in the terminal, a plot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rtseg.atomic import write_atomically

COLUMNS = (
    "", "precision", "engine ms", "frame→mask p50", "p95", "p99", "max", "→painted p50", "p99",
    "masks/s", "× eager", "× floor", "parity", "mIoU",
)  # fmt: skip
_NARROW = (0, 2, 3, 5, 7, 9, 10, 12, 13)
"""Those of the columns that the terminal has room for."""


def _figure(value: float | None, digits: int = 3) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{digits}g}"


def table(cell: Mapping[str, Any], rows: Mapping[str, Any]) -> list[list[str]]:
    """Return the rows of a cell's table, the fastest first, then those that did not run."""
    ran, rest = [], []
    for name, found in cell["contenders"].items():
        latency = found.get("frame_to_mask_ms")
        if latency is None:
            rest.append([name, *["–"] * (len(COLUMNS) - 1)])
            continue
        row, painted = rows[name], found.get("frame_to_painted_ms", {})
        parity, accuracy = found.get("parity", {}).get("share"), found.get("accuracy", {})
        miou = accuracy.get("miou")
        line = [
            name,
            found["precision"],
            _figure(row["engine_ms"]),
            *(_figure(latency[p]) for p in ("p50", "p95", "p99", "max")),
            *(_figure(painted.get(p)) for p in ("p50", "p99")),
            _figure(found.get("masks_per_second"), 4),
            _figure(row.get("times_torch_eager_fp32")),
            _figure(row["times_the_floor"]),
            "–" if parity is None else f"{parity:.4%}",
            "–" if miou is None else f"{miou:.4f}",
        ]
        ran.append((latency["p50"], line))
    return [line for _, line in sorted(ran, key=lambda pair: pair[0])] + rest


def _title(cell: Mapping[str, Any]) -> str:
    (width, height), asked = cell["size"], cell["asked"]
    nearest = "" if list(asked) == [width, height] else f" (the nearest to {asked[0]}×{asked[1]})"
    return f"{cell['name']} {width}×{height}{nearest}, batch {cell['batch']}"


def _rows(header: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    return [
        f"| {' | '.join(header)} |",
        "|---" * len(header) + "|",
        *(f"| {' | '.join(line)} |" for line in lines),
    ]


def _aims(figures: Mapping[str, Any]) -> list[list[str]]:
    words = {True: "reached", False: "missed", None: "not measured"}
    return [
        [
            aim["cell"], aim["what"], f"{aim['sign']} {aim['aim']:g} {aim['unit']}",
            f"{_figure(aim['measured'], 4)} {aim['unit']}" if aim["measured"] is not None else "–",
            words[aim["reached"]],
        ]
        for aim in figures["aims"]
    ]  # fmt: skip


def _missing(figures: Mapping[str, Any]) -> list[str]:
    """What was not measured, those with one reason on one line."""
    by_reason: dict[tuple[str, str], list[str]] = {}
    for entry in figures["not_measured"]:
        key = entry["contender"] or "everything", entry["why"]
        by_reason.setdefault(key, []).append(entry["cell"])
    return [f"- {who}, {len(c)} × ({c[0]}{' …' if len(c) > 1 else ''}): {why}"
            for (who, why), c in by_reason.items()]  # fmt: skip


def _ceilings(ceilings: Mapping[str, Any]) -> list[str]:
    lines = []
    if bandwidth := ceilings.get("bytes_per_second"):
        lines.append(f"- {bandwidth / 1e9:,.0f} GB/s, read and written: {ceilings['bytes_by']}")
    rates = ceilings.get("operations_per_second", {})
    if rates:
        told = ", ".join(f"{rate / 1e12:,.3g} TFLOP/s {name}" for name, rate in rates.items())
        lines.append(f"- {told}: {ceilings['operations_by']}")
    return lines + [f"- not measured: {why}" for why in ceilings.get("missing", ())]


def markdown(result: Mapping[str, Any]) -> str:
    """Return the whole result as a document."""
    figures, samples, settings = result["figures"], result["samples"], result["settings"]
    lines = ["# Measured by `python -m benchmarks.gpu`", ""]
    for run in settings["runs"]:
        gpu, versions = run["gpu"], run["versions"]
        if gpu.get("name"):
            where = (
                f"{gpu['name']}, compute capability {gpu['compute_capability']}, driver "
                f"{gpu['nvidia_smi'].get('driver_version', 'unknown')}, CUDA {gpu['cuda']}"
            )
            versions = {**versions, **gpu.get("packages", {})}
        else:
            where = f"{run['machine']['usable_cores']} cores of {run['machine']['processor']}"
        told = ", ".join(f"{name} {version}" for name, version in versions.items())
        lines.append(f"- {run['date'][:16]}, {where}; {told}.")
        if gpu.get("unusable"):
            lines.append(f"- A GPU is there and cannot be used: {gpu['unusable']}")
    lines += ["", "Ceilings of the same run:", "", *_ceilings(samples["ceilings"]), ""]
    if _has_gpu(result):
        lines += ["## Aimed at", ""]
        lines += [*_rows(("where", "what", "aim", "measured", ""), _aims(figures)), ""]
    for cell in samples["cells"]:
        lines += [f"## {_title(cell)}", ""]
        lines += _rows(COLUMNS, table(cell, figures["rows"][cell["key"]]))
        lines += ["", *_below(cell, figures), ""]
    lines += ["## Not measured", "", *(_missing(figures) or ["Nothing was left out."]), ""]
    return "\n".join(lines)


def _below(cell: Mapping[str, Any], figures: Mapping[str, Any]) -> list[str]:
    a_run = "frame" if cell["batch"] == 1 else "batch"
    told = [f"{cell['rounds']} rounds in turns; times in ms a {a_run}."]
    rows = figures["rows"][cell["key"]]
    for precision in ("fp16", "fp32", "bf16"):
        names = [n for n in rows if cell["contenders"][n]["precision"] == precision]
        floors = rows[names[0]]["floors"] if names else {}
        if floors.get("floor_ms") is not None:
            told.append(
                f"Floors in {precision}: bytes {_figure(floors['bytes_ms'])} ms, operations "
                f"{_figure(floors['operations_ms'])} ms; every layer through memory "
                f"{_figure(floors['layers_ms'])} ms."
            )
    if any(
        row["times_the_floor"] is not None and row["times_the_floor"] < 1 for row in rows.values()
    ):
        told.append(
            "A time below its floor: the ceilings were measured while others used the machine."
        )
    return [" ".join(told)]


def show(result: Mapping[str, Any]) -> None:
    """Print the tables, without what only the document has room for."""
    figures = result["figures"]
    for cell in result["samples"]["cells"]:
        print(f"\n{_title(cell)}")
        _print([COLUMNS, *table(cell, figures["rows"][cell["key"]])], _NARROW)
    print("\nceilings:")
    for line in _ceilings(result["samples"]["ceilings"]):
        print(line)
    print("\nnot measured:")
    for line in _missing(figures) or ["- nothing was left out"]:
        print(line)
    if _has_gpu(result):
        print("\naimed at:")
        _print(_aims(figures), range(5))
    print()


def _print(lines: Sequence[Sequence[str]], columns: Iterable[int]) -> None:
    for_each = [[line[column] for line in lines] for column in columns]
    for i in range(len(lines)):
        cells = [
            column[i].ljust(width) if first else column[i].rjust(width)
            for column, width, first in (
                (column, max(map(len, column)), at == 0) for at, column in enumerate(for_each)
            )
        ]
        print("  ".join(cells).rstrip())


def _has_gpu(result: Mapping[str, Any]) -> bool:
    return any(run["gpu"].get("name") for run in result["settings"]["runs"])


def plot(result: Mapping[str, Any], path: Path) -> bool:
    """Draw latency, percentile by percentile, of the batch-1 cells; False without matplotlib."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot as plt
    except ImportError:
        return False
    cells = [
        cell
        for cell in result["samples"]["cells"]
        if cell["batch"] == 1 and result["figures"]["rows"][cell["key"]]
    ]
    if not cells:
        return False
    names = sorted({n for c in cells for n in result["figures"]["rows"][c["key"]]})
    colours = {name: f"C{i}" for i, name in enumerate(names)}
    figure, axes = plt.subplots(
        len(cells), 1, figsize=(9, 1.2 + 0.42 * sum(len(c["contenders"]) for c in cells) + len(cells)),
        squeeze=False, layout="constrained",
    )  # fmt: skip
    for axis, cell in zip(axes[:, 0], cells, strict=True):
        rows = result["figures"]["rows"][cell["key"]]
        order = sorted(rows, key=lambda n: -cell["contenders"][n]["frame_to_mask_ms"]["p50"])
        for at, name in enumerate(order):
            times = cell["contenders"][name]["frame_to_mask_ms"]
            axis.plot(times["p50"], at, "o", color=colours[name], markersize=7)
            axis.plot((times["p50"], times["p99"]), (at, at), color="black", linewidth=1)
            axis.plot(times["p99"], at, "|", color="black", markersize=9)
            axis.plot(times["max"], at, ".", color="grey", markersize=4)
            axis.text(times["max"], at, f"  {times['p50']:.3g} ms", va="center", fontsize=8)
            if floor := rows[name]["floors"]["floor_ms"]:
                axis.plot(floor, at, "d", color="red", markersize=4)
        axis.set_yticks(range(len(order)), order, fontsize=8)
        axis.set_xscale("log")
        left, right = axis.get_xlim()
        axis.set_xlim(left, right * 2)
        axis.set_title(_title(cell), loc="left", fontsize=10)
    axes[-1, 0].set_xlabel(
        "frame to mask, ms: circle p50, tick p99, dot max, red diamond the floor"
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return True


def write(result: Mapping[str, Any], folder: Path, stem: str) -> list[Path]:
    """Write the document and the plot beside the JSON result; returns their paths."""
    paths = [folder / f"{stem}.md"]
    write_atomically(paths[0], markdown(result).encode())
    part = folder / f".{stem}.part.png"
    if plot(result, part):
        part.replace(folder / f"{stem}.png")
        paths.append(folder / f"{stem}.png")
    return paths
