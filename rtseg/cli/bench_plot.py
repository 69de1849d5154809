"""The plot of ``rtseg-bench``: FPS against mIoU, with those that no other beats joined by a line."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from rtseg.atomic import write_atomically
from rtseg.cli.plot_labels import GREY, label_points
from rtseg.evaluation.bench_result import label

_DPI = 130
_RADIUS = 5.0
"""Of a point, in points."""
# Okabe and Ito's colours, which people with any colour vision can tell apart.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_LOG_FROM = 5.0
"""FPS that differ by more than this ratio are drawn in the logarithm."""

_Row = Mapping[str, Any]


def draw(result: Mapping[str, Any]) -> Figure:
    """Draw a result: a point an engine, its bar the 95 % interval of its FPS.

    Engines without an mIoU, such as networks with random weights, stand on a strip of their own below.
    """
    rows: Sequence[_Row] = result["rows"]
    scored = [row for row in rows if row["accuracy"]["miou"] is not None]
    unscored = [row for row in rows if row["accuracy"]["miou"] is None]
    lanes = 0.28 * len(unscored) + 0.35 if unscored else 0.0
    main = 5.2 if scored else 0.0
    height = main + lanes + 1.25
    figure = Figure(figsize=(10, height), dpi=_DPI)
    FigureCanvasAgg(figure)
    colours = _colours(rows)
    limits = _limits(rows)
    bottom = 0.78
    if unscored:
        axes = figure.add_axes((0.085, bottom / height, 0.895, lanes / height))
        _strip(axes, unscored, colours, limits)
        _speed_axis(axes, limits, named=True)
        bottom += lanes + 0.12
    if scored:
        axes = figure.add_axes((0.085, bottom / height, 0.895, (main - 0.12) / height))
        _scatter(axes, scored, result["front"], colours, limits, rows)
        _speed_axis(axes, limits, named=not unscored)
    top = figure.axes[-1]
    data = result["data"]
    on = (
        "the rendered drive, held out"
        if data["kind"] == "drive"
        else f"{data['folder']} {data['split']}"
    )
    top.set_title(
        f"Speed and accuracy: {data['frames']} frames of {on}", fontsize=14, loc="left", pad=12
    )
    machine = result["machine"]
    where = (
        result["gpu"]["name"]
        if result["gpu"]
        else f"{machine['usable_cores']} cores of {machine['processor']}"
    )
    figure.text(
        0.085, 0.12 / height,
        f"{where}, {result['date'][:10]}, {result['settings']['mode']} mode. Bars: 95 % interval of "
        "the median. Dashed: no other is both faster and more accurate.",
        fontsize=9, color=GREY,
    )  # fmt: skip
    return figure


def _colours(rows: Sequence[_Row]) -> dict[str, str]:
    """A colour a network."""
    names = list(dict.fromkeys(row["network"] for row in rows))
    return {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(names)}


def _limits(rows: Sequence[_Row]) -> tuple[float, float, bool]:
    """The least and the greatest FPS of the axis, and whether it is logarithmic."""
    low = min(row["fps"]["interval"][0] for row in rows)
    high = max(row["fps"]["interval"][1] for row in rows)
    if high / low > _LOG_FROM:
        return low / 1.4, high * 1.6, True
    return 0.0, high * 1.25, False


def _speed_axis(axes: Axes, limits: tuple[float, float, bool], *, named: bool) -> None:
    low, high, logarithmic = limits
    if logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(10, (1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(low, high)
    axes.tick_params(labelsize=11, labelbottom=named)
    if named:
        scale = ", logarithmic" if logarithmic else ""
        axes.set_xlabel(f"frames a second{scale}", fontsize=12, loc="left")
    axes.grid(color="#e4e7ec", zorder=0)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _bar(axes: Axes, row: _Row, y: float, colour: str) -> None:
    low, high = row["fps"]["interval"]
    axes.plot([low, high], [y, y], color=colour, linewidth=1.6, solid_capstyle="butt", zorder=2)
    for end in (low, high):
        axes.plot([end], [y], marker="|", markersize=9, color=colour, zorder=2)
    axes.plot(
        [row["fps"]["median"]], [y], "o", markersize=2 * _RADIUS, color=colour, markeredgewidth=1,
        markeredgecolor="white", zorder=3,
    )  # fmt: skip


def _scatter(
    axes: Axes,
    rows: Sequence[_Row],
    front: Sequence[str],
    colours: Mapping[str, str],
    limits: tuple[float, float, bool],
    everything: Sequence[_Row],
) -> None:
    miou = [row["accuracy"]["miou"] for row in rows]
    pad = max(0.16 * (max(miou) - min(miou)), 0.004)
    axes.set_ylim(min(miou) - pad, max(miou) + pad)
    _speed_axis(axes, limits, named=False)
    best = [row for name in front for row in rows if label(row) == name]
    axes.plot(
        [row["fps"]["median"] for row in best], [row["accuracy"]["miou"] for row in best],
        color=GREY, linewidth=1.1, linestyle=(0, (4, 3)), zorder=1,
    )  # fmt: skip
    points, bars = {}, []
    radius = _RADIUS * _DPI / 72
    for row in rows:
        y = row["accuracy"]["miou"]
        _bar(axes, row, y, colours[row["network"]])
        points[label(row)] = (row["fps"]["median"], y, radius)
        ends = [axes.transData.transform((x, y)) for x in row["fps"]["interval"]]
        bars.append(Bbox.from_extents(ends[0][0], ends[0][1] - 3, ends[1][0], ends[1][1] + 3))
    label_points(axes, points, _short(rows, everything), size=10.5, bars=bars)
    axes.set_ylabel("mIoU", fontsize=12)


def _strip(
    axes: Axes,
    rows: Sequence[_Row],
    colours: Mapping[str, str],
    limits: tuple[float, float, bool],
) -> None:
    """Draw each row on a line of its own, its name beside the point where there is more room."""
    axes.set_ylim(len(rows) - 0.5, -0.75)
    low, high, logarithmic = limits
    names = _short(rows, rows)
    for y, row in enumerate(rows):
        _bar(axes, row, y, colours[row["network"]])
        fps = row["fps"]["median"]
        share = (
            math.log(fps / low) / math.log(high / low)
            if logarithmic
            else (fps - low) / (high - low)
        )
        right = share < 0.5
        end = row["fps"]["interval"][1 if right else 0]
        axes.annotate(
            names[label(row)], (end, y), xytext=(9 if right else -9, 0), fontsize=10.5,
            textcoords="offset points", va="center", ha="left" if right else "right",
        )  # fmt: skip
    axes.set_yticks([])
    axes.set_ylabel("no mIoU", fontsize=10.5, color=GREY)


def _short(rows: Sequence[_Row], everything: Sequence[_Row]) -> dict[str, str]:
    """What tells the rows apart: what all have in common is left out, but for the network."""
    sizes = {tuple(row["size"]) for row in everything}
    texts = {}
    for row in rows:
        parts = [row["network"], f"{row['backend']} {row['precision']}"]
        if len(sizes) > 1:
            parts.append("{}×{}".format(*row["size"]))
        if row["batch"] > 1:
            parts.append(f"batch {row['batch']}")
        texts[label(row)] = ", ".join(parts)
    return texts


def write_plot(result: Mapping[str, Any], path: Path) -> None:
    """Write :func:`draw`'s picture as PNG, whole or not at all; ``OutputError`` says why not."""
    buffer = io.BytesIO()
    draw(result).savefig(buffer, format="png")
    write_atomically(path, buffer.getvalue())
