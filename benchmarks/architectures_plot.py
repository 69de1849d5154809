"""The plot of the comparison: FPS against mIoU, the area of a point its parameters."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rtseg.atomic import write_atomically
from rtseg.cli.plot_labels import GREY, label_points

_DPI = 120
# Of Okabe and Ito's colours, which people with any colour vision can tell apart.
_OWN, _SMP = "#0072B2", "#D55E00"
_LARGEST = 900.0
"""Area of the largest point, in points squared."""
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
        [p["fps"] for p in best], [p["miou"] for p in best], color=GREY, linewidth=1,
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
    places = {
        name: (p["fps"], p["miou"], math.sqrt(areas[name] / math.pi) * _DPI / 72)
        for name, p in points.items()
    }
    label_points(axes, places, {name: p["label"] for name, p in points.items()})
    return figure


def write_plot(points: Points, front: Sequence[str], path: Path) -> None:
    """Write :func:`draw`'s picture as PNG, whole or not at all; ``OutputError`` says why not."""
    buffer = io.BytesIO()
    draw(points, front).savefig(buffer, format="png")
    write_atomically(path, buffer.getvalue())
