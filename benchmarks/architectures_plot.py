"""The plot of the comparison: FPS against mIoU, the area of a point its parameters."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from rtseg.atomic import write_atomically

_DPI = 120
# Of Okabe and Ito's colours, which people with any colour vision can tell apart.
_OWN, _SMP, _GREY = "#0072B2", "#D55E00", "#667085"
_LARGEST = 900.0
"""Area of the largest point, in points squared."""
_FREE = 3.0
"""Pixels that stay free around a label."""
_DISTANCES = (3, 16, 32, 50, 72, 100, 135, 175, 220, 270, 330)
"""How far from its point a label may stand, in pixels, tried from near to far."""
_ANGLES = (0, 180, 90, 270, 45, 315, 135, 225)


Points = Mapping[str, Mapping[str, Any]]


def draw(points: Points, front: Sequence[str]) -> Figure:
    """Draw ``points``: by name their ``label``, ``fps``, ``miou`` (0–1) and ``parameters``.

    A dashed line leads along ``front``, the names of those that no other beats, by speed.
    """
    figure = Figure(figsize=(10, 6.4), dpi=_DPI)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.085, 0.12, 0.895, 0.81))
    fps = [p["fps"] for p in points.values()]
    miou = [p["miou"] for p in points.values()]
    pad = 0.14 * (max(miou) - min(miou)) or 0.05
    axes.set_xlim(0, 1.18 * max(fps))
    axes.set_ylim(min(miou) - pad, max(miou) + pad)
    best = [points[name] for name in front]
    axes.plot(
        [p["fps"] for p in best], [p["miou"] for p in best], color=_GREY, linewidth=1,
        linestyle=(0, (4, 3)), zorder=1,
    )  # fmt: skip
    largest = max(p["parameters"] for p in points.values())
    areas = {n: _LARGEST * p["parameters"] / largest for n, p in points.items()}
    for group, colour, ours in (
        ("rtseg", _OWN, True),
        ("segmentation_models.pytorch (SMP)", _SMP, False),
    ):
        members = [name for name in points if name.startswith("smp-") is not ours]
        if members:
            axes.scatter(
                [points[n]["fps"] for n in members], [points[n]["miou"] for n in members],
                s=[areas[n] for n in members], color=colour, alpha=0.75, edgecolors="white",
                linewidths=1, zorder=3, clip_on=False, label=group,
            )  # fmt: skip
    axes.set_xlabel("frames a second", fontsize=13, loc="left")
    axes.set_ylabel("mIoU on CamVid val", fontsize=13)
    axes.set_title(
        f"Speed and accuracy (area: parameters, the largest {largest / 1e6:.1f} M; dashed: the best"
        " of both)",
        fontsize=13,
        loc="left",
    )
    axes.tick_params(labelsize=12)
    axes.grid(color="#e4e7ec", zorder=0)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    # Below the axes: inside, it would take a label's place.
    legend = figure.legend(
        loc="lower right", bbox_to_anchor=(0.98, 0.0), ncols=2, frameon=False, fontsize=12
    )
    handles: Any = legend.legend_handles
    for handle in handles:
        handle.set_sizes([90])
    _label(axes, points, areas)
    return figure


def _label(axes: Axes, points: Points, areas: Mapping[str, float]) -> None:
    """Write each label as near to its point as it can stand without touching another or a point."""
    figure = axes.get_figure(root=True)
    assert isinstance(figure, Figure)
    places: dict[str, tuple[float, float, float]] = {}
    for name, p in points.items():
        x, y = axes.transData.transform((p["fps"], p["miou"]))
        places[name] = (x, y, math.sqrt(areas[name] / math.pi) * _DPI / 72)
    taken = [Bbox.from_extents(x - r, y - r, x + r, y + r) for x, y, r in places.values()]
    inside = axes.get_window_extent()
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    for name in sorted(points, key=lambda n: points[n]["fps"]):
        x, y, radius = places[name]
        text = axes.text(
            0, 0, points[name]["label"], fontsize=12, zorder=4, ha="center", va="center",
            bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.5},
        )  # fmt: skip
        extent = text.get_window_extent(renderer)
        width, height = extent.width + 2 * _FREE, extent.height + 2 * _FREE
        box, distance = _free_place((x, y, radius), (width, height), taken, inside)
        middle = ((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)
        text.set_position(tuple(axes.transData.inverted().transform(middle)))
        taken.append(box)
        if distance > _DISTANCES[0]:
            # From the point to the nearest place of the label.
            end = (min(max(x, box.x0), box.x1), min(max(y, box.y0), box.y1))
            xs, ys = axes.transData.inverted().transform([(x, y), end]).T
            axes.plot(xs, ys, color=_GREY, linewidth=0.8, zorder=2)


def _free_place(
    point: tuple[float, float, float],
    size: tuple[float, float],
    taken: Sequence[Bbox],
    inside: Bbox,
) -> tuple[Bbox, float]:
    """Find a box of ``size`` beside a round ``point`` (x, y, radius); returns its distance, too.

    Where there is no room at all, it is the place inside that overlaps the least.
    """
    x, y, radius = point
    width, height = size
    least: tuple[float, Bbox, float] | None = None
    for distance in _DISTANCES:
        for angle in _ANGLES:
            dx, dy = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            reach = radius + distance
            middle_x = x + dx * reach + round(dx) * width / 2
            middle_y = y + dy * reach + round(dy) * height / 2
            box = Bbox.from_bounds(middle_x - width / 2, middle_y - height / 2, width, height)
            if box.x0 < inside.x0 or box.x1 > inside.x1 or box.y0 < inside.y0 or box.y1 > inside.y1:
                continue
            overlap = sum(_overlap(box, other) for other in taken)
            if not overlap:
                return box, distance
            if least is None or overlap < least[0]:
                least = overlap, box, distance
    assert least is not None  # the axes are wider than any label
    return least[1], least[2]


def _overlap(a: Bbox, b: Bbox) -> float:
    """The area that two boxes share."""
    width = float(min(a.x1, b.x1) - max(a.x0, b.x0))
    height = float(min(a.y1, b.y1) - max(a.y0, b.y0))
    return max(0.0, width) * max(0.0, height)


def write_plot(points: Points, front: Sequence[str], path: Path) -> None:
    """Write :func:`draw`'s picture as PNG, whole or not at all; ``OutputError`` says why not."""
    buffer = io.BytesIO()
    draw(points, front).savefig(buffer, format="png")
    write_atomically(path, buffer.getvalue())
