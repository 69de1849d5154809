"""The classes of a converted folder: their order, their colours, and what becomes of a label."""

from __future__ import annotations

import colorsys
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rtseg.data.labels import VOID, VOID_NAMES, Legend, read_legend
from rtseg.errors import InputError, UsageError

Fill = Literal["background", "void"]

_IGNORED = frozenset((*VOID_NAMES, "__ignore__"))  # the latter is LabelMe's word for it
_MOST = 254  # class files and masks of 8 bits take no more

_COLOURS = (
    (0, 200, 90), (36, 36, 242), (242, 36, 36), (242, 36, 180), (242, 201, 36), (115, 143, 255),
    (36, 242, 242), (140, 14, 65), (140, 77, 14), (242, 157, 208), (242, 208, 157), (90, 14, 140),
    (180, 242, 36), (115, 140, 14), (14, 140, 102), (115, 199, 255), (255, 129, 115),
    (201, 36, 242), (14, 77, 140), (183, 242, 157), (242, 139, 36), (36, 242, 36), (242, 36, 98),
    (185, 115, 255),
)  # fmt: skip
# Chosen one after another, each as far as could be from those before, from black and from grey in
# CIELAB; the nearest two are 32 apart.


def colours() -> Iterator[tuple[int, int, int]]:
    """Yield distinct RGB colours without end, always the same; the first 24 are easy to tell apart."""
    yield from _COLOURS
    given = {(0, 0, 0), *_COLOURS}
    for i in itertools.count():
        hue = i * 0.6180339887 % 1  # the golden ratio spreads them evenly, however many there are
        red, green, blue = colorsys.hsv_to_rgb(hue, (0.5, 0.8, 0.95)[i % 3], 0.6 + i // 3 % 3 * 0.2)
        colour = (round(red * 255), round(green * 255), round(blue * 255))
        if colour not in given:
            given.add(colour)
            yield colour


@dataclass(frozen=True)
class Classes:
    """What the masks hold: ``legend``, the value of unlabelled pixels, and that of other labels.

    ``others`` is None where a label that the legend lacks is an error; ``file`` is the class file.
    """

    legend: Legend
    unlabelled: int
    others: int | None = None
    background: str = "background"
    file: Path | None = None

    def value(self, label: str) -> int:
        """Return the mask's value for ``label``; ``InputError`` if there is none."""
        name = label.lower()
        names = [known.lower() for known in self.legend.names]
        if name in _IGNORED:
            return VOID
        if name not in names and name == "_background_":  # LabelMe's word for it
            name = self.background.lower()
        if name in names:
            return names.index(name)
        if self.others is None:
            raise InputError(
                f"the label {label[:60]!r} is not in {self.file}: add it, or give --others"
            )
        return self.others


def choose_classes(
    labels: Sequence[str],
    *,
    file: Path | None = None,
    background: str = "background",
    unlabelled: Fill = "background",
    others: Fill | None = None,
) -> Classes:
    """Choose the classes of a conversion.

    Args:
        labels: The labels of the annotations in their order. Upper and lower case make no
            difference: the first spelling counts. ``void``, ``unlabelled`` and ``__ignore__`` are
            no classes, but :data:`~rtseg.data.labels.VOID`.
        file: A class file, ``R G B Name`` a line, whose classes, order and colours are taken.
        background: The name of the class of pixels under no shape; without ``file`` it is class 0.
        unlabelled: ``void`` makes those pixels void instead, and there is no such class.
        others: What becomes of labels that ``file`` lacks; None makes them an error.

    ``UsageError`` for options that do not fit, ``InputError`` for labels or a file that do not.
    """
    if file is None:
        if others is not None:
            raise UsageError("--others goes with --classes: without it every label is a class")
        legend = _legend(labels, background if unlabelled == "background" else None)
    else:
        legend = read_legend(file)
    names = [name.lower() for name in legend.names]
    fill = {"void": VOID}
    if background.lower() in names:
        fill["background"] = names.index(background.lower())
    for option, wanted in (("--unlabelled", unlabelled), ("--others", others)):
        if wanted is not None and wanted not in fill:
            raise UsageError(
                f"{option} {wanted}: {file} has no class {background!r}: name one with "
                f"--background, or give {option} void"
            )
    if background.lower() in VOID_NAMES:
        fill["background"] = VOID
    other = None if others is None else fill[others]
    return Classes(legend, fill[unlabelled], other, background, file)


def _legend(labels: Sequence[str], background: str | None) -> Legend:
    by_name: dict[str, str] = {}
    if background is not None:
        by_name[background.lower()] = by_name["_background_"] = background
    for label in labels:
        if label.lower() not in _IGNORED:
            by_name.setdefault(label.lower(), label)
    names = tuple(dict.fromkeys(by_name.values()))
    if len(names) > _MOST:
        raise InputError(f"{len(names)} labels: masks of 8 bits take up to {_MOST} classes")
    if not names or (names == (background,) and not labels):
        raise InputError("the annotations have no label: there is nothing to convert")
    chosen = colours()
    return Legend(names, tuple((0, 0, 0) if n == background else next(chosen) for n in names))


def class_file(legend: Legend) -> str:
    """Return the text of a class file."""
    lines = zip(legend.colours, legend.names, strict=True)
    return "".join(f"{r} {g} {b} {name}\n" for (r, g, b), name in lines)
