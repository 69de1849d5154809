"""A training's figures: rows as CSV, curves of an epoch a step, and the confusion matrix."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from rtseg.atomic import write_atomically
from rtseg.errors import InputError
from rtseg.training.class_curves import (
    COLOURS,
    GREY,
    MOST_LINES,
    Row,
    class_keys,
    draw_classes,
    draw_line,
    note,
    series,
)

Place = Literal["best", "lower right"]

_DPI = 120


def write_rows_csv(rows: Sequence[Row], path: Path) -> None:
    """Write a line a row, whole or not at all.

    The columns are all keys of all rows, in the order in which they first appear; a value that a row
    lacks is an empty cell. ``OutputError`` where the file cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)))
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode())


def read_rows_csv(path: Path) -> list[dict[str, float]]:
    """Read what :func:`write_rows_csv` wrote; ``InputError`` where it is not that."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
    except OSError as error:
        raise InputError(f"{path}: cannot read this file: {error.strerror}") from error
    except (ValueError, TypeError, AttributeError, csv.Error) as error:
        raise InputError(f"{path}: not a table of numbers: {error}") from error


def write_curves(rows: Sequence[Row], path: Path, title: str) -> None:
    """Write a PNG of losses, mIoU and pixel accuracy, the classes' IoU, and the learning rate.

    Rows are one an epoch, with the keys ``epoch``, ``train_loss``, ``val_loss``, ``val_miou``,
    ``val_pixel_accuracy``, ``val_iou/CLASS`` and ``learning_rate``; any may be missing or NaN in any
    row. The best epoch is that of the highest ``val_miou``, the first of equals. ``ValueError``
    without rows; ``OutputError`` where the file cannot be written.
    """
    if not rows:
        raise ValueError("curves take at least one row")
    figure = Figure(figsize=(12, 8), dpi=_DPI)
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)
    figure.suptitle(title, fontsize=17, fontweight="bold")
    losses, scores, classes, rates = _panels(figure, many=len(class_keys(rows)) > MOST_LINES)
    best = _best(rows)
    epochs = [float(row.get("epoch", i + 1)) for i, row in enumerate(rows)]
    pad = 0.02 * (max(epochs) - min(epochs)) or 0.5
    for axes in (losses, scores, classes, rates):
        axes.set_xlim(min(epochs) - pad, max(epochs) + pad)
        _dress(axes)
    _losses(losses, rows)
    _scores(scores, rows, best)
    draw_classes(classes, rows, None if best is None else best[0])
    _rates(rates, rows)
    _save(figure, path)


def _panels(figure: Figure, many: bool) -> list[Axes]:
    """Return the axes of losses, scores, classes and learning rate; ``many`` classes need height.

    Each has a subfigure of its own, so that one's labels do not push the others aside.
    """
    if not many:
        return [part.subplots() for part in np.asarray(figure.subfigures(2, 2)).flat]
    left, right = np.asarray(figure.subfigures(1, 2)).flat
    losses, scores, rates = left.subplots(3, 1)
    return [losses, scores, right.subplots(), rates]


def write_confusion(matrix: NDArray[np.int64], names: Sequence[str], path: Path) -> None:
    """Write a PNG of a confusion matrix (C, C): counts of pixels, a row a true class.

    Each row is shown as shares of its class, in percent; a class without pixels has an empty row.
    ``ValueError`` for a shape that does not fit ``names``; ``OutputError`` where the file cannot be
    written.
    """
    count = len(names)
    if matrix.shape != (count, count):
        raise ValueError(f"a confusion matrix of {count} classes is not of shape {matrix.shape}")
    totals = matrix.sum(1, keepdims=True)
    shares = np.divide(100.0 * matrix, totals, np.full(matrix.shape, np.nan), where=totals > 0)
    small = count > 14
    side = 3.0 + (0.42 if small else 0.56) * count
    figure = Figure(figsize=(side + 0.9, side), dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor("#eeeeee")
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for y, x in zip(*np.nonzero(np.isfinite(shares)), strict=True):
        share = shares[y, x]
        text = f"{share:.0f}" if count > 4 else f"{share:.1f}"
        # Shares that round to nothing are left out: they would hide the others.
        if float(text):
            colour = "white" if share > 55 else "black"
            axes.text(x, y, text, ha="center", va="center", color=colour, fontsize=13)
    axes.set_xticks(
        range(count), names, rotation=90 if small else 45, ha="center" if small else "right"
    )
    if not small:
        for label in axes.get_xticklabels():
            label.set_rotation_mode("anchor")
    axes.set_yticks(range(count), names)
    axes.tick_params(labelsize=13, length=0)
    axes.set_xticks(np.arange(count + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(count + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted", fontsize=14)
    axes.set_ylabel("true", fontsize=14)
    axes.set_title("share of each true class, %", fontsize=14, pad=10)
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02, shrink=0.8)
    bar.outline.set_visible(False)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png")
    write_atomically(path, buffer.getvalue())


def _best(rows: Sequence[Row]) -> tuple[float, float] | None:
    """Return the best epoch and its mIoU."""
    epochs, scores = series(rows, "val_miou")
    return max(zip(epochs, scores, strict=True), key=lambda pair: pair[1]) if scores else None


def _losses(axes: Axes, rows: Sequence[Row]) -> None:
    axes.set_title("loss", fontsize=14)
    drawn = draw_line(axes, rows, "train_loss", "training", COLOURS[0], linewidth=2)
    drawn |= draw_line(axes, rows, "val_loss", "validation", COLOURS[1], linewidth=2)
    values = [v for key in ("train_loss", "val_loss") for v in series(rows, key)[1]]
    if values and min(values) > 0 and max(values) > 20 * min(values):
        axes.set_yscale("log")
    _key_or_note(axes, drawn, "no losses yet")


def _scores(axes: Axes, rows: Sequence[Row], best: tuple[float, float] | None) -> None:
    axes.set_title("validation", fontsize=14)
    drawn = draw_line(axes, rows, "val_miou", "mIoU", COLOURS[0], linewidth=2)
    drawn |= draw_line(axes, rows, "val_pixel_accuracy", "pixel accuracy", COLOURS[1], linewidth=2)
    if best is not None:
        epoch, score = best
        label = f"best mIoU {score:.3f}, epoch {epoch:g}"
        axes.plot(
            [epoch], [score], "*", color=COLOURS[5], markersize=17, markeredgecolor="black",
            label=label, zorder=5,
        )  # fmt: skip
        axes.axvline(epoch, color=GREY, linewidth=1, linestyle=":")
    _key_or_note(axes, drawn, "no validation yet", "lower right")


def _rates(axes: Axes, rows: Sequence[Row]) -> None:
    axes.set_title("learning rate", fontsize=14)
    drawn = draw_line(axes, rows, "learning_rate", "", COLOURS[2], linewidth=2)
    if drawn:
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=True)
        axes.set_ylim(bottom=0)
    else:
        note(axes, "no learning rate")


def _key_or_note(axes: Axes, drawn: bool, text: str, place: Place = "best") -> None:
    if drawn:
        axes.legend(loc=place, fontsize=12, frameon=True, framealpha=0.85, edgecolor="none")
    else:
        note(axes, text)


def _dress(axes: Axes) -> None:
    axes.tick_params(labelsize=12)
    axes.set_xlabel("epoch", fontsize=12)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, steps=[1, 2, 5, 10]))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
