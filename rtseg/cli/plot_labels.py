"""Labels beside the points of a plot, none over another or over a point."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

GREY = "#667085"
_FREE = 3.0
"""Pixels that stay free around a label."""
_DISTANCES = (3, 16, 32, 50, 72, 100, 135, 175, 220, 270, 330)
"""How far from its point a label may stand, in pixels, tried from near to far."""
_ANGLES = (0, 180, 90, 270, 45, 315, 135, 225)

Place = tuple[float, float, float]
"""x and y of a round point in the axes' own units, and its radius in pixels."""


def label_points(
    axes: Axes,
    points: Mapping[str, Place],
    texts: Mapping[str, str],
    *,
    size: float = 12,
    bars: Sequence[Bbox] = (),
) -> list[Bbox]:
    """Write each point's text as near to it as it can stand without touching another or a point.

    ``bars`` are boxes, in pixels, that stay free too. A line leads from a point to a label that is
    not beside it. Returns the labels' boxes in pixels. The axes' limits must be those at the end.
    """
    figure = axes.get_figure(root=True)
    assert isinstance(figure, Figure)
    places: dict[str, Place] = {}
    for name, (left, up, radius) in points.items():
        x, y = axes.transData.transform((left, up))
        places[name] = (x, y, radius)
    taken = [Bbox.from_extents(x - r, y - r, x + r, y + r) for x, y, r in places.values()]
    taken += bars
    inside = axes.get_window_extent()
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    boxes = []
    for name in sorted(points, key=lambda n: points[n][0]):
        x, y, radius = places[name]
        text = axes.text(
            points[name][0], points[name][1], texts[name], fontsize=size, zorder=4, ha="center",
            va="center", bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.5},
        )  # fmt: skip
        extent = text.get_window_extent(renderer)
        width, height = extent.width + 2 * _FREE, extent.height + 2 * _FREE
        box, distance = _free_place((x, y, radius), (width, height), taken, inside)
        middle = ((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)
        text.set_position(tuple(axes.transData.inverted().transform(middle)))
        taken.append(box)
        boxes.append(box)
        if distance > _DISTANCES[0]:
            # From the point to the nearest place of the label.
            end = (min(max(x, box.x0), box.x1), min(max(y, box.y0), box.y1))
            xs, ys = axes.transData.inverted().transform([(x, y), end]).T
            axes.plot(xs, ys, color=GREY, linewidth=0.8, zorder=2)
    return boxes


def _free_place(
    point: Place, size: tuple[float, float], taken: Sequence[Bbox], inside: Bbox
) -> tuple[Bbox, float]:
    """Find a box of ``size`` beside a round ``point`` in pixels; returns its distance, too.

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
    if least is None:  # wider than the axes
        box = Bbox.from_bounds(inside.x0, y + radius, width, height)
        return box, _DISTANCES[0]
    return least[1], least[2]


def _overlap(a: Bbox, b: Bbox) -> float:
    """The area that two boxes share."""
    width = float(min(a.x1, b.x1) - max(a.x0, b.x0))
    height = float(min(a.y1, b.y1) - max(a.y0, b.y0))
    return max(0.0, width) * max(0.0, height)
