"""The report's charts: Matplotlib's SVG, in the page's own colours and font."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

# Matplotlib knows no CSS variables: these stand for them until its text is written.
_INK, _FAINT, _ACCENT = "#010203", "#040506", "#070809"
_VARIABLES = {_INK: "var(--soft)", _FAINT: "var(--line)", _ACCENT: "var(--accent)"}
_BINS = 20


def frame_histogram(values: Sequence[float], whole: float | None, label: str) -> Markup:
    """Draw how many frames have which mIoU (0–1); ``whole`` is the set's own, a dashed line."""
    figure, axes = _panel(400, 200, (0.075, 0.21, 0.91, 0.66), 11)
    counts = _bars(axes, values, _ACCENT, None)
    axes.yaxis.set_major_locator(_whole_numbers(4))
    axes.grid(axis="y", color=_FAINT, linewidth=0.8, clip_on=False)
    axes.set_ylim(0, max(1, counts) * 1.06)
    axes.set_xlabel("mIoU of a frame, %", fontsize=11, color=_INK)
    axes.set_title("frames", loc="left", fontsize=11, color=_INK, x=-0.06, pad=6)
    if whole is not None:
        axes.axvline(100 * whole, color=_INK, linewidth=1.4, linestyle=(0, (3, 2)), clip_on=False)
        side = "left" if whole < 0.25 else "right" if whole > 0.75 else "center"
        axes.text(
            100 * whole, 1.04, "whole set", ha=side, fontsize=11, color=_INK,
            transform=axes.get_xaxis_transform(),
        )  # fmt: skip
    return _svg(figure, label)


def class_histogram(values: Sequence[float], colour: tuple[int, int, int], label: str) -> Markup:
    """Draw how many frames have which IoU (0–1) of one class, in the class's colour (RGB)."""
    figure, axes = _panel(190, 88, (0.04, 0.22, 0.92, 0.74), 10)
    counts = _bars(axes, values, "#{:02x}{:02x}{:02x}".format(*colour), _INK)
    axes.set_ylim(0, max(1, counts) * 1.04)
    axes.set_yticks([])
    axes.set_xticks([0, 50, 100])
    sides: tuple[Literal["left", "center", "right"], ...] = ("left", "center", "right")
    for text, side in zip(axes.get_xticklabels(), sides, strict=True):
        text.set_horizontalalignment(side)
    return _svg(figure, label)


def recall_curves(
    curves: Sequence[tuple[str, Sequence[float], Sequence[float]]], label: str
) -> Markup:
    """Draw precision over recall (0–1), a line for each (name, recall, precision)."""
    figure, axes = _panel(400, 240, (0.095, 0.18, 0.885, 0.72), 11)
    for (name, recall, precision), style in zip(curves, ("-", (0, (4, 2))), strict=False):
        axes.plot(
            100 * np.asarray(recall), 100 * np.asarray(precision), color=_ACCENT, linewidth=2,
            linestyle=style, label=name, clip_on=False,
        )  # fmt: skip
    axes.set_ylim(0, 101)
    axes.set_yticks(range(0, 101, 20))
    axes.grid(color=_FAINT, linewidth=0.8, clip_on=False)
    axes.set_xlabel("recall, %", fontsize=11, color=_INK)
    axes.set_title("precision, %", loc="left", fontsize=11, color=_INK, x=-0.08, pad=8)
    axes.legend(loc="lower left", frameon=False, fontsize=11, labelcolor=_INK)
    return _svg(figure, label)


def _panel(
    width: int, height: int, place: tuple[float, float, float, float], font: int
) -> tuple[Figure, Axes]:
    """Make axes from 0 to 100 in a figure of ``width`` × ``height`` points, the page's pixels."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    figure.patch.set_visible(False)
    axes = figure.add_axes(place)
    axes.patch.set_visible(False)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_INK)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=font, labelcolor=_INK, pad=4)
    axes.set_xlim(0, 100)
    axes.set_xticks(range(0, 101, 20))
    return figure, axes


def _bars(axes: Axes, values: Sequence[float], colour: str, edge: str | None) -> int:
    """Draw a histogram of shares (0–1) and return its highest count."""
    counts, edges = np.histogram(np.asarray(values, float), bins=_BINS, range=(0, 1))
    lefts = 100 * edges[:-1]
    some = counts > 0
    axes.bar(
        lefts[some] + 0.4, counts[some], width=100 / _BINS - 0.8, align="edge", color=colour,
        edgecolor=edge, linewidth=0.6 if edge else 0, clip_on=False,
    )  # fmt: skip
    return int(counts.max())


def _whole_numbers(most: int) -> MaxNLocator:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=most, integer=True)


def _svg(figure: Figure, label: str) -> Markup:
    """Return the figure as an SVG element that takes colours and font from the page."""
    import matplotlib
    from markupsafe import Markup, escape

    text = io.StringIO()
    # Text stays text, and names are made from a fixed salt: the same figure is the same SVG.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "rtseg"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    drawn = text.getvalue()
    # Without its head: a licence's RDF, and a style that would hold for the whole page.
    body = drawn[drawn.index('<g id="figure_1">') : drawn.rindex("</svg>")]
    # Names repeat from figure to figure. Nothing refers to them: no chart clips, none has markers.
    body = re.sub(r' id="[^"]*"', "", body)
    body = re.sub(r"<!--.*?-->", "", body)
    body = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", body)
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
    body = re.sub(r' transform="rotate\(-?0 [^"]*"', "", body)
    body = re.sub(r"\s+", " ", body).replace("> <", "><")
    for stand_in, variable in _VARIABLES.items():
        body = body.replace(stand_in, variable)
    width, height = (round(72 * side) for side in figure.get_size_inches())
    return Markup(
        '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    ).format(width, height, escape(label), Markup(body))
