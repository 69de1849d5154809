"""A dataset at a glance: samples with their masks, class frequencies, and what augmentation does."""

from __future__ import annotations

import io
import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from rtseg.atomic import write_atomically
from rtseg.data.dataset import LabelledImages
from rtseg.data.labels import ClassTable
from rtseg.errors import InputError, OutputError
from rtseg.training.augmentation import Augmentation, build_augmentation
from rtseg.training.chance import chance
from rtseg.training.drawing import (
    TEXT,
    VOID_SWATCH,
    Picture,
    beside,
    entries,
    legend,
    line_of_text,
    paint,
    rgb_at_width,
    stack,
    write_png,
)

_PANEL = 320
_DRAWN = 260
_DRAWS = 4
_AUGMENTED = 4
_COUNTED = 500
"""Pictures at most whose pixels are counted; of the rendered drive fewer, for it is slow."""
_COUNTED_ENDLESS = 60
_PAIRS_A_ROW = 2


def write_preview(
    source: LabelledImages,
    out: Path,
    *,
    count: int = 12,
    seed: int = 0,
    augmentation: Sequence[Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Write ``samples.png``, ``frequencies.png`` and, with ``augmentation``, ``augmented.png``.

    Args:
        source: The dataset.
        out: Folder for the pictures; it is made if it is not there.
        count: How many samples are shown. ``seed`` decides which.
        seed: Decides also what is random in the samples and in the augmentation.
        augmentation: As in a recipe: :func:`rtseg.training.augmentation.build_augmentation`.

    Returns what was found: ``pictures`` in the dataset, ``counted`` of them, ``no_class`` (share of
    pixels), ``classes`` (for each its share of ``pixels`` and of ``pictures``), and the ``files``.

    Raises:
        UsageError: the augmentation is not one.
        InputError: the dataset is empty, or a picture cannot be read.
        OutputError: the folder cannot be written.
    """
    if len(source) == 0:
        raise InputError("there are no pictures to show")
    table = source.classes
    augment = None if augmentation is None else build_augmentation(augmentation, classes=table)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: cannot make this folder: {error.strerror}") from error
    # A source is told by the upper bits of a chance which samples belong together.
    base = chance(seed, "preview") >> 20 << 20
    chosen = sorted(random.Random(seed).sample(range(len(source)), min(count, len(source))))
    samples = [(source.name(i), *source.read(i, base | n)) for n, i in enumerate(chosen)]
    files = [out / "samples.png", out / "frequencies.png"]
    write_png(_samples(samples, table), files[0])
    shares, shown, counted = _count(source, base)
    _write_frequencies(shares, shown, counted, table, files[1])
    if augment is not None:
        files.append(out / "augmented.png")
        write_png(_augmented(samples[:_AUGMENTED], augment, table, base), files[2])
    return {
        "pictures": len(source),
        "counted": counted,
        "no_class": float(shares[-1]),
        "classes": {
            name: {"pixels": float(shares[i]), "pictures": float(shown[i])}
            for i, name in enumerate(table.names)
        },
        "files": [str(file) for file in files],
    }


def _samples(samples: Sequence[tuple[str, Picture, Picture]], table: ClassTable) -> Picture:
    """Draw the samples in pairs: picture, and picture with mask."""
    pairs = []
    for name, frame, mask in samples:
        picture = rgb_at_width(frame, _PANEL)
        both = beside([picture, paint(picture, mask, table)])
        # The end of a path tells more than its beginning.
        label = "/".join(Path(name).parts[-2:])
        pairs.append(stack([line_of_text(label, both.shape[1], TEXT - 4), both], 2, 0))
    rows = [beside(pairs[i : i + _PAIRS_A_ROW], 24) for i in range(0, len(pairs), _PAIRS_A_ROW)]
    width = max(row.shape[1] for row in rows)
    return stack([*rows, legend(entries(table, void=True), width)])


def _augmented(
    samples: Sequence[tuple[str, Picture, Picture]],
    augment: Augmentation,
    table: ClassTable,
    base: int,
) -> Picture:
    """Draw a row a sample: as it is, and some draws of the augmentation."""
    headings = ["dataset", *(f"draw {n + 1}" for n in range(_DRAWS))]
    rows = [beside([line_of_text(heading, _DRAWN) for heading in headings])]
    for row, (_, frame, mask) in enumerate(samples):
        panels = [paint(rgb_at_width(frame, _DRAWN), mask, table, 0.35)]
        for draw in range(_DRAWS):
            picture, target = augment(frame, mask, base | (row * _DRAWS + draw))
            bgr = np.ascontiguousarray(picture[::-1].transpose(1, 2, 0))
            panels.append(paint(rgb_at_width(bgr, _DRAWN), target, table, 0.35))
        rows.append(beside(panels))
    return stack([*rows, legend(entries(table, void=True), rows[0].shape[1])])


def _count(
    source: LabelledImages, base: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Count pixels: each class's share of all pixels (C + 1,) and of pictures (C + 1,).

    The last is that of the pixels without a class. Every picture counts as much as any other.
    """
    most = _COUNTED_ENDLESS if getattr(source, "endless", False) else _COUNTED
    counted = min(len(source), most)
    classes = len(source.classes.names)
    shares, shown = np.zeros(classes + 1), np.zeros(classes + 1)
    for n in range(counted):
        mask = source.read(n * len(source) // counted, base | n)[1]
        counts = np.bincount(np.minimum(mask, classes).ravel(), minlength=classes + 1)
        shares += counts / mask.size
        shown += counts > 0
    return shares / counted, shown / counted, counted


def _write_frequencies(
    shares: NDArray[np.float64],
    shown: NDArray[np.float64],
    counted: int,
    table: ClassTable,
    path: Path,
) -> None:
    names = [*table.names, "no class"]
    colours = [tuple(v / 255 for v in c) for c in (*table.colours, VOID_SWATCH)]
    figure = Figure(figsize=(12, 1.9 + 0.36 * len(names)), dpi=110)
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)
    pixels, pictures = figure.subplots(1, 2, sharey=True)
    _bars(pixels, shares, colours, "share of pixels")
    _bars(pictures, shown, colours, f"share of pictures with it, of {counted}")
    present = shares[shares > 0]
    if present.size and present.max() > 30 * present.min():
        pixels.set_xscale("log")
        decades = range(math.floor(math.log10(present.min())), 1)
        pixels.set_xlim(10.0 ** decades[0], 10.0**0.4)
        pixels.set_xticks([10.0**d for d in decades], [f"{10.0 ** (d + 2):g}%" for d in decades])
        pixels.minorticks_off()
        pixels.set_title("share of pixels (log scale)", fontsize=14)
    pixels.set_yticks(range(len(names)), names)
    pixels.invert_yaxis()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_atomically(path, buffer.getvalue())


def _bars(
    axes: Axes, values: NDArray[np.float64], colours: Sequence[tuple[float, ...]], title: str
) -> None:
    axes.set_title(title, fontsize=14)
    bars = axes.barh(range(len(values)), values, color=colours, edgecolor="#444444", linewidth=0.8)
    labels = ["none" if value == 0 else f"{100 * value:.3g}%" for value in values]
    axes.bar_label(bars, labels, padding=4, fontsize=12)
    axes.set_xlim(0, 1.18 * max(values.max(), 1e-6))
    axes.xaxis.set_major_formatter(PercentFormatter(1, symbol="%"))
    axes.tick_params(labelsize=12)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
