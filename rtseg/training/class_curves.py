"""One panel of a training's curves: lines over the epochs, and the IoU of the classes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

Row = Mapping[str, float]

# Okabe and Ito's colours, which people with any colour vision can tell apart; without the yellow,
# which is too light for lines on white. With dashes they are enough for 14 classes.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
GREY = "#667085"
_DASHES: tuple[Any, ...] = ("-", (0, (4, 1.6)))
MOST_LINES = len(COLOURS) * len(_DASHES)
_IOU = "val_iou/"


def series(rows: Sequence[Row], key: str) -> tuple[list[float], list[float]]:
    """Return the epochs that have a finite value of ``key``, and the values."""
    pairs = [
        (float(row.get("epoch", i + 1)), float(row[key]))
        for i, row in enumerate(rows)
        if key in row and math.isfinite(row[key])
    ]
    return [epoch for epoch, _ in pairs], [value for _, value in pairs]


def draw_line(
    axes: Axes, rows: Sequence[Row], key: str, label: str, colour: str, **how: Any
) -> bool:
    """Draw the finite values of ``key`` over their epochs; returns whether there are any."""
    epochs, values = series(rows, key)
    if not values:
        return False
    # Validations that are far apart are shown as what they are: points.
    marker = "o" if len(values) <= 40 else ""
    axes.plot(epochs, values, color=colour, label=label, marker=marker, markersize=4, **how)
    return True


def note(axes: Axes, text: str) -> None:
    """Say in the middle of an empty panel why it is empty."""
    axes.set_yticks([])
    axes.text(
        0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=GREY, fontsize=13
    )


def class_keys(rows: Sequence[Row]) -> list[str]:
    """Return the keys of the classes' IoU that have values, in the order of their appearance."""
    keys = dict.fromkeys(key for row in rows for key in row if key.startswith(_IOU))
    return [key for key in keys if series(rows, key)[1]]


def draw_classes(axes: Axes, rows: Sequence[Row], best: float | None) -> None:
    """Draw the classes' IoU: lines, or a heat map where there are more than can be told apart."""
    axes.set_title("IoU of the classes", fontsize=14)
    keys = class_keys(rows)
    if not keys:
        note(axes, "no validation yet")
    elif len(keys) > MOST_LINES:
        axes.set_title("IoU of the classes (dark 0, light 1)", fontsize=14)
        _heat_map(axes, rows, keys)
    else:
        for i, key in enumerate(keys):
            colour, dashes = COLOURS[i % len(COLOURS)], _DASHES[i // len(COLOURS)]
            draw_line(axes, rows, key, "", colour, linewidth=1.7, linestyle=dashes)
        if best is not None:
            axes.axvline(best, color=GREY, linewidth=1, linestyle=":")
        _name_ends(axes, rows, keys)


def _name_ends(axes: Axes, rows: Sequence[Row], keys: Sequence[str]) -> None:
    """Write each class's name and last IoU at the right, in the order of the lines, without overlap."""
    ends = sorted((series(rows, key)[1][-1], i, key) for i, key in enumerate(keys))
    low, high = min(0.0, ends[0][0]), 1.0
    axes.set_ylim(low, high)
    # Labels are spread to be at least one text height apart; a thin line leads to each.
    apart = 0.071 * (high - low)
    places: list[float] = []
    for value, _, _ in ends:
        places.append(max(value, places[-1] + apart) if places else max(value, low + apart / 2))
    top = high - apart / 4
    for i in range(len(places) - 1, -1, -1):
        places[i] = min(places[i], top)
        top = places[i] - apart
    for (value, i, key), place in zip(ends, places, strict=True):
        colour = COLOURS[i % len(COLOURS)]
        transform = axes.get_yaxis_transform()
        axes.plot(
            [1.0, 1.03], [value, place], color=colour, linewidth=1, transform=transform,
            clip_on=False, linestyle=_DASHES[i // len(COLOURS)],
        )  # fmt: skip
        axes.text(
            1.04, place, f"{_short(key)} {value:.2f}", color=colour, transform=transform, va="center",
            fontsize=11,
        )  # fmt: skip


def _heat_map(axes: Axes, rows: Sequence[Row], keys: Sequence[str]) -> None:
    keys = sorted(keys, key=lambda key: -series(rows, key)[1][-1])
    epochs = sorted({epoch for key in keys for epoch in series(rows, key)[0]})
    column = {epoch: i for i, epoch in enumerate(epochs)}
    grid = np.full((len(keys), len(epochs)), np.nan)
    for y, key in enumerate(keys):
        for epoch, value in zip(*series(rows, key), strict=True):
            grid[y, column[epoch]] = value
    # A column reaches from one validation to the next; it is drawn where the epoch ended.
    edges = np.append(2 * epochs[0] - epochs[1] if len(epochs) > 1 else epochs[0] - 1, epochs)
    axes.set_xlim(edges[0], edges[-1])
    axes.pcolormesh(edges, np.arange(len(keys) + 1), grid, cmap="viridis", vmin=0, vmax=1)
    labels = [f"{_short(key)} {series(rows, key)[1][-1]:.2f}" for key in keys]
    axes.set_yticks(np.arange(len(keys)) + 0.5, labels, fontsize=min(11, 340 / len(keys)))
    axes.tick_params(axis="y", length=0)
    axes.grid(False)
    axes.invert_yaxis()
    axes.yaxis.tick_right()


def _short(key: str) -> str:
    name = key.removeprefix(_IOU)
    return name if len(name) <= 18 else name[:17] + "…"
