"""Shapes that people draw on pictures, and the pixels that they cover.

Points are (x, y) in pixels from the upper left corner of the picture, as annotation tools give them:
the first pixel reaches from 0 to 1. A pixel belongs to a shape if its centre lies in it. Nothing is
rounded before, so that shapes which share an edge neither overlap nor leave a gap.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

_MOST = 1 << 30  # pixels, as OpenCV has it

Window = tuple[slice, slice, NDArray[np.bool_]]
"""Rows and columns of a picture, and which of their pixels are covered."""


class Shape(Protocol):
    """What can be painted."""

    def windows(self, height: int, width: int) -> Iterator[Window]:
        """Yield the pixels it covers of a picture of that size; they may be yielded twice."""


def paint(shape: Shape, mask: NDArray[np.uint8], value: int) -> bool:
    """Set the pixels of ``mask`` (H, W) uint8 that ``shape`` covers; whether there were any."""
    any_covered = False
    for rows, columns, covered in shape.windows(*mask.shape):
        mask[rows, columns][covered] = value
        any_covered = any_covered or bool(covered.any())
    return any_covered


@dataclass(frozen=True)
class Polygon:
    """The union of polygons, each (N, 2) float64 with N at least 3, closed by itself.

    A polygon that crosses itself is filled by the even-odd rule.
    """

    parts: tuple[NDArray[np.float64], ...]

    def windows(self, height: int, width: int) -> Iterator[Window]:
        """Yield one window a part."""
        for points in self.parts:
            yield _fill(points, height, width)


def box(left: float, top: float, right: float, bottom: float, degrees: float = 0) -> Polygon:
    """Return a rectangle that is turned clockwise about its centre."""
    corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float64)
    if degrees:
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        middle = corners.mean(axis=0)
        corners = (corners - middle) @ np.array([(c, s), (-s, c)]) + middle
    return Polygon((corners,))


@dataclass(frozen=True)
class Ellipse:
    """An ellipse by its centre and half axes, turned clockwise."""

    x: float
    y: float
    rx: float
    ry: float
    degrees: float = 0

    def windows(self, height: int, width: int) -> Iterator[Window]:
        """Yield one window."""
        reach = max(self.rx, self.ry)
        rows = _span(self.y - reach, self.y + reach, height)
        columns = _span(self.x - reach, self.x + reach, width)
        x, y = _centres(columns) - self.x, _centres(rows)[:, None] - self.y
        c, s = math.cos(math.radians(self.degrees)), math.sin(math.radians(self.degrees))
        covered = ((x * c + y * s) / self.rx) ** 2 + ((y * c - x * s) / self.ry) ** 2 <= 1
        yield rows, columns, covered


@dataclass(frozen=True)
class Stroke:
    """A line through points (N, 2) float64, drawn with a round pen of ``width`` pixels."""

    points: NDArray[np.float64]
    width: float

    def windows(self, height: int, width: int) -> Iterator[Window]:
        """Yield one window a piece of the line."""
        radius = self.width / 2
        for start, end in zip(self.points[:-1], self.points[1:], strict=True):
            low, high = np.minimum(start, end) - radius, np.maximum(start, end) + radius
            columns, rows = _span(low[0], high[0], width), _span(low[1], high[1], height)
            x, y = _centres(columns) - start[0], _centres(rows)[:, None] - start[1]
            dx, dy = end - start
            length = dx * dx + dy * dy
            along = np.clip((x * dx + y * dy) / length, 0, 1) if length else np.float64(0)
            yield rows, columns, (x - along * dx) ** 2 + (y - along * dy) ** 2 <= radius * radius


@dataclass(frozen=True)
class Bitmap:
    """Pixels (H, W) bool, the first of them at column ``left`` and row ``top`` of the picture."""

    left: int
    top: int
    pixels: NDArray[np.bool_]

    def windows(self, height: int, width: int) -> Iterator[Window]:
        """Yield one window: what of it lies in the picture."""
        high, wide = self.pixels.shape
        top, left = max(self.top, 0), max(self.left, 0)
        bottom, right = min(self.top + high, height), min(self.left + wide, width)
        if top < bottom and left < right:
            yield (
                slice(top, bottom),
                slice(left, right),
                self.pixels[
                    top - self.top : bottom - self.top, left - self.left : right - self.left
                ],
            )


def run_lengths(counts: Sequence[int], rows: int, columns: int) -> NDArray[np.bool_]:
    """Return (rows, columns) bool from the lengths of runs of False, True, False ..., row by row.

    ``ValueError`` where they do not cover just as many pixels.
    """
    lengths, pixels = np.asarray(counts, np.int64), rows * columns
    if not 0 < pixels <= _MOST:
        raise ValueError(f"{columns}x{rows} is no size of a mask")
    if lengths.size == 0 or lengths.min() < 0 or lengths.max() > pixels or lengths.sum() != pixels:
        raise ValueError(f"its run lengths do not add up to {columns}x{rows} pixels")
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape(rows, columns)


def _first(coordinate: NDArray[np.float64], size: int) -> NDArray[np.int64]:
    """The first pixels whose centres are not before a coordinate, from 0 to ``size``."""
    return np.ceil(np.clip(coordinate - 0.5, 0, size)).astype(np.int64)


def _span(low: float, high: float, size: int) -> slice:
    first, last = _first(np.array([low, high]), size)
    return slice(int(first), int(min(last + 1, size)))


def _centres(span: slice) -> NDArray[np.float64]:
    return np.arange(span.start, span.stop) + 0.5


def _fill(points: NDArray[np.float64], height: int, width: int) -> Window:
    """Scan conversion: a row's pixels change sides wherever an edge crosses the row's middle."""
    x, y = points.T
    next_x, next_y = np.roll(x, -1), np.roll(y, -1)
    first = _first(np.minimum(y, next_y), height)
    count = _first(np.maximum(y, next_y), height) - first
    edge = np.repeat(np.arange(len(x)), count)
    if not len(edge):
        return slice(0), slice(0), np.zeros((0, 0), np.bool_)
    row = first[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
    share = (row + 0.5 - y[edge]) / (next_y - y)[edge]
    column = _first(x[edge] + share * (next_x - x)[edge], width)
    top, left = int(row.min()), int(column.min())
    bottom, right = int(row.max()) + 1, int(column.max())
    changes = np.zeros((bottom - top, right - left + 1), np.uint8)
    np.add.at(changes, (row - top, column - left), 1)
    covered = np.cumsum(changes, axis=1, dtype=np.uint8)[:, :-1] & 1  # 256 changes are even, too
    return slice(top, bottom), slice(left, right), covered.astype(np.bool_)
