"""What everything standing is painted with: into the picture and its mask at once."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtseg.data.drive.camera import Place, View
from rtseg.data.drive.light import Light
from rtseg.data.drive.sprites import Sprite, Texture

__all__ = ["Canvas", "Colour"]

Colour = tuple[float, float, float]


class Canvas:
    """A picture and its mask under one view and one light: every stroke goes to both."""

    def __init__(
        self,
        frame: NDArray[np.uint8],
        mask: NDArray[np.uint8],
        view: View,
        light: Light,
        planes: dict[int, NDArray[np.uint8]],
    ) -> None:
        # `planes` is for the canvas to keep things in from frame to frame.
        self._frame, self._mask = frame, mask
        self.frame, self.mask = frame, mask
        self.view, self.light = view, light
        self._planes = planes

    def _plane(self, label: int) -> NDArray[np.uint8]:
        """Return a mask of nothing but a label, to copy from."""
        if label not in self._planes:
            self._planes[label] = np.full(self._mask.shape, label, np.uint8)
        return self._planes[label]

    def behind(self, place: Place) -> bool:
        """Hide what the next strokes paint behind the brow of a hill; False if that is all."""
        self.hide(int(place.clip))
        return place.clip > 0

    def hide(self, row: int) -> None:
        """Hide what the next strokes paint at or below a row."""
        self.frame, self.mask = self._frame[:row], self._mask[:row]

    def convex(self, points: ArrayLike, colour: Colour, label: int) -> None:
        """Fill a convex polygon of (N, 2) columns and rows with a colour already lit."""
        self.convex_fixed((np.array(points) * 16.0).astype(np.int32), colour, label)

    def convex_fixed(self, fixed: NDArray[np.int32], colour: Sequence[float], label: int) -> None:
        """Fill a convex polygon of (N, 2) sixteenths of columns and rows."""
        cv2.fillConvexPoly(self.frame, fixed, colour, cv2.LINE_AA, 4)
        if label >= 0:
            cv2.fillConvexPoly(self.mask, fixed, label, cv2.LINE_8, 4)

    def polygon(self, points: ArrayLike, colour: Colour, label: int) -> None:
        """Fill any polygon of (N, 2) columns and rows with a colour already lit."""
        fixed = (np.array(points) * 16.0).astype(np.int32)
        cv2.fillPoly(self.frame, [fixed], colour, cv2.LINE_AA, 4)
        if label >= 0:
            cv2.fillPoly(self.mask, [fixed], label, cv2.LINE_8, 4)

    def bar(
        self, x0: float, y0: float, x1: float, y1: float, width: float, colour: Colour, label: int
    ) -> None:
        """Paint a straight bar from one point to another, `width` pixels across."""
        dx, dy = x1 - x0, y1 - y0
        length = math.hypot(dx, dy) or 1.0
        half = max(width, 0.9) / 2 / length
        nx, ny = -dy * half, dx * half
        self.convex(
            [(x0 + nx, y0 + ny), (x1 + nx, y1 + ny), (x1 - nx, y1 - ny), (x0 - nx, y0 - ny)],
            colour,
            label,
        )

    def sprite(
        self, sprite: Sprite, x: float, foot: float, height: float, distance: float, label: int
    ) -> None:
        """Paint a sprite standing at column `x` and row `foot`, `height` pixels tall."""
        rows, columns = sprite.shape
        w = max(1, round(height * columns / rows))
        h = max(1, round(height))
        left, top = round(x - w / 2), round(foot) - h
        a, b = max(left, 0), min(left + w, self.frame.shape[1])
        c, d = max(top, 0), min(top + h, self.frame.shape[0])
        if a >= b or c >= d:
            return
        image = sprite.level(h)
        if (b - a, d - c) != (w, h):
            # Only the part in sight is scaled; its borders are rounded outwards to whole pixels.
            rows, columns = image.shape[:2]
            sx, sy = columns / w, rows / h
            u0, u1 = int((a - left) * sx), min(math.ceil((b - left) * sx), columns)
            v0, v1 = int((c - top) * sy), min(math.ceil((d - top) * sy), rows)
            image = image[v0:v1, u0:u1]
        scaled = cv2.resize(image, (b - a, d - c))
        outline = np.asarray(cv2.extractChannel(scaled, 3), np.uint8)
        colours = np.asarray(cv2.cvtColor(scaled, cv2.COLOR_BGRA2BGR), np.uint8)
        self.light.paint(colours, distance)
        _, solid = cv2.threshold(outline, 127, 255, cv2.THRESH_BINARY)
        target = self.frame[c:d, a:b]
        if (b - a) * (d - c) < 900:
            weight = outline.astype(np.float32) * np.float32(1 / 255)
            target[:] = cv2.blendLinear(colours, target, weight, np.float32(1.0) - weight)
        else:
            cv2.copyTo(colours, solid, target)
        cv2.copyTo(self._plane(label)[c:d, a:b], solid, self.mask[c:d, a:b])

    def wall(
        self,
        texture: Texture,
        corners: Sequence[tuple[float, float]],
        distance: float,
        label: int,
        part: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        """Paint a texture onto a quadrangle (4, 2): from its top left corner, clockwise.

        `part` is the share of the texture that is left out on its left, and at its top.
        """
        height, width = self.frame.shape[:2]
        xs, ys = [x for x, _ in corners], [y for _, y in corners]
        left, right, top, bottom = min(xs), max(xs), min(ys), max(ys)
        a, b = max(math.floor(left), 0), min(math.ceil(right) + 1, width)
        c, d = max(math.floor(top), 0), min(math.ceil(bottom) + 1, height)
        if a >= b or c >= d or right - left < 0.3:
            return
        if (bottom - top) * (b - a) < 600.0:
            self.convex(corners, self.light.colour(texture.mean, distance), label)
            return
        image = texture.level((bottom - top) / (1.0 - part[1]))
        h, w = image.shape[:2]
        u, v = part[0] * w, part[1] * h
        source = np.array([[u, v], [w, v], [w, h], [u, h]], np.float32)
        target = np.array([(x - a, y - c) for x, y in corners], np.float32)
        matrix = cv2.getPerspectiveTransform(source, target)
        size = (b - a, d - c)
        flat = cv2.warpPerspective(
            image, matrix, size, flags=cv2.INTER_LINEAR, borderValue=(*texture.mean, 0.0)
        )
        colours = np.asarray(cv2.cvtColor(flat, cv2.COLOR_BGRA2BGR), np.uint8)
        self.light.paint(colours, distance)
        solid = np.zeros((size[1], size[0]), np.uint8)
        fixed = np.round(target * 16).astype(np.int32)
        cv2.fillConvexPoly(solid, fixed, 255, cv2.LINE_8, 4)
        cv2.copyTo(colours, solid, self.frame[c:d, a:b])
        cv2.fillConvexPoly(self.mask[c:d, a:b], fixed, label, cv2.LINE_8, 4)

    def shade(self, points: ArrayLike, strength: float) -> None:
        """Darken a polygon on the ground: a shadow. The mask stays as it is."""
        height, width = self.frame.shape[:2]
        corners = np.array(points)
        (left, top), (right, bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
        a, b = max(int(left), 0), min(int(right) + 2, width)
        c, d = max(int(top), 0), min(int(bottom) + 2, height)
        if a >= b or c >= d or strength < 0.04:
            return
        part = self.frame[c:d, a:b]
        solid = np.zeros((d - c, b - a), np.uint8)
        fixed = np.round((corners - (a, c)) * 16).astype(np.int32)
        cv2.fillPoly(solid, [fixed], 255, cv2.LINE_8, 4)
        dark = cv2.convertScaleAbs(part, alpha=1.0 - strength)
        cv2.copyTo(dark, solid, part)
