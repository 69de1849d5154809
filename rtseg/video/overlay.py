"""Painting: class colours over the picture, at the picture's full size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.engine.pictures import Paint, nearest
from rtseg.errors import UsageError
from rtseg.spec import Spec

_CONTOUR = (255, 255, 255)


def painted_by_default(classes: Sequence[str]) -> tuple[str, ...]:
    """What is painted where nobody says otherwise: every class but ``background``."""
    return tuple(name for name in classes if name.lower() != "background")


class Painter:
    """Paints masks over pictures in place, with its scratch buffers kept between frames.

    ``paint`` names the classes to paint (default: all but ``background``); ``opacity`` is 0 to 1.
    ``UsageError`` for a class that the network does not have, or an opacity out of range.
    """

    def __init__(
        self,
        classes: Sequence[str],
        palette: Sequence[tuple[int, int, int]],
        *,
        paint: Iterable[str] | None = None,
        opacity: float = 0.45,
        contours: bool = False,
    ) -> None:
        if not 0 <= opacity <= 1:
            raise UsageError(f"opacity {opacity}: give a number from 0 to 1")
        wanted = list(painted_by_default(classes) if paint is None else paint)
        indices = {name.lower(): i for i, name in enumerate(classes)}
        for name in wanted:
            if name.lower() not in indices:
                raise UsageError(f"no class {name!r} in this network: {', '.join(classes)}")
        chosen = sorted({indices[name.lower()] for name in wanted})
        self.opacity = opacity
        self.contours = contours
        # Class index → 255 where it is painted, and → its colour (BGR).
        self._where = np.zeros((1, 256), np.uint8)
        self._colours = np.zeros((256, 1, 3), np.uint8)
        for i in chosen:
            self._where[0, i] = 255
            self._colours[i, 0] = palette[i][::-1]
        self._single = self._colours[chosen[0], 0] if len(chosen) == 1 else None
        self._table: Paint | None = None
        self._shapes: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
        self._region: NDArray[np.uint8] = np.empty((0, 0), np.uint8)
        self._layer: NDArray[np.uint8] = np.empty((0, 0, 3), np.uint8)
        self._blend: NDArray[np.uint8] = np.empty((0, 0, 3), np.uint8)
        self._small: NDArray[np.uint8] = np.empty((0, 0), np.uint8)
        self._wide: NDArray[np.uint8] = np.empty((0, 0), np.uint8)
        self._wide_colours: NDArray[np.uint8] = np.empty((0, 0, 3), np.uint8)
        self._row_of: NDArray[np.intp] = np.empty(0, np.intp)

    def table(self) -> Paint:
        """What this painter paints, contours apart, for a device that paints by itself.

        The same object until the opacity changes.
        """
        if self._table is None or self._table.opacity != self.opacity:
            self._table = Paint(self._colours[:, 0], self._where[0], self.opacity)
        return self._table

    def _prepare(self, picture: tuple[int, ...], mask: tuple[int, ...]) -> None:
        if (picture, mask) == self._shapes:
            return
        self._shapes = (picture, mask)
        self._small = np.empty(mask, np.uint8)
        self._wide = np.empty((mask[0], picture[1]), np.uint8)
        self._wide_colours = np.empty((mask[0], picture[1], 3), np.uint8)
        self._row_of = nearest(mask[0], picture[0])
        self._region = np.empty(picture[:2], np.uint8)
        self._blend = np.empty(picture, np.uint8)
        self._layer = np.empty(picture, np.uint8)
        if self._single is not None:
            self._layer[:] = self._single

    def paint(self, picture: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
        """Paint ``mask`` (h, w) uint8 over ``picture`` (H, W, 3) uint8 BGR, in place.

        The mask is stretched to the picture's size; nothing is painted where no class is chosen.
        """
        self._prepare(picture.shape, mask.shape)
        height, width = picture.shape[:2]
        where = self._small
        cv2.LUT(mask, self._where, dst=where)
        # All work stays inside the rows that have something to paint.
        _, y, w, h = cv2.boundingRect(where)
        if not w or not h:
            return
        rows, columns = mask.shape
        # The picture's rows whose mask rows are y to y + h; none, where the picture is the smaller.
        top, bottom = map(int, np.searchsorted(self._row_of, (y, y + h)))
        part = picture[top:bottom]
        if self.opacity > 0 and top < bottom:
            inside = slice(y, y + h), slice(top, bottom)
            self._stretch(where, self._wide, self._region, *inside)
            if self._single is None:
                small = cv2.applyColorMap(mask, self._colours).astype(np.uint8, copy=False)
                self._stretch(small, self._wide_colours, self._layer, *inside)
            blend = self._blend[top:bottom]
            cv2.addWeighted(
                part, 1 - self.opacity, self._layer[top:bottom], self.opacity, 0, dst=blend
            )
            cv2.copyTo(blend, self._region[top:bottom], part)
        if self.contours:
            self._outline(picture, where, width / columns, height / rows)

    def outline(self, picture: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
        """Draw what a device that has painted ``picture`` leaves out: the contours, if wanted."""
        if not self.contours:
            return
        where = cv2.LUT(mask, self._where).astype(np.uint8, copy=False)
        height, width = picture.shape[:2]
        self._outline(picture, where, width / mask.shape[1], height / mask.shape[0])

    def _stretch(
        self,
        source: NDArray[np.uint8],
        wide: NDArray[np.uint8],
        target: NDArray[np.uint8],
        rows: slice,
        target_rows: slice,
    ) -> None:
        """Stretch some rows of ``source`` to ``target``, nearest: first in width, then row by row.

        The same pixels as one ``cv2.resize``, in a third of the time.
        """
        size = (wide.shape[1], rows.stop - rows.start)
        cv2.resize(source[rows], size, dst=wide[rows], interpolation=cv2.INTER_NEAREST_EXACT)
        np.take(wide, self._row_of[target_rows], 0, out=target[target_rows], mode="clip")

    def _outline(
        self, picture: NDArray[np.uint8], where: NDArray[np.uint8], sx: float, sy: float
    ) -> None:
        found, _ = cv2.findContours(where, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        # Pixel centres of the mask, in sixteenths of the picture's pixels.
        scale = np.array([sx, sy]) * 16
        lines = [((c + 0.5) * scale - 8).astype(np.int32) for c in found if len(c) > 2]
        thickness = max(1, picture.shape[0] // 400)
        cv2.polylines(picture, lines, True, _CONTOUR, thickness, cv2.LINE_AA, shift=4)


def overlay(
    frame: NDArray[np.uint8],
    mask: NDArray[np.uint8],
    spec: Spec | None = None,
    *,
    paint: Iterable[str] | None = None,
    opacity: float = 0.45,
    contours: bool = False,
) -> NDArray[np.uint8]:
    """Return a copy of ``frame`` (H, W, 3) uint8 BGR with ``mask`` (h, w) uint8 painted over it.

    Classes and colours come from the engine's ``spec``; without one, index 1 is road, in green. For
    many frames a :class:`Painter` is faster: it keeps its buffers.
    """
    classes = spec.classes if spec is not None else ("background", "road")
    palette = spec.palette if spec is not None else ((0, 0, 0), (0, 200, 90))
    picture = frame.copy()
    Painter(classes, palette, paint=paint, opacity=opacity, contours=contours).paint(picture, mask)
    return picture
