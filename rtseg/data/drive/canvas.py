"""What everything standing is painted with: into the picture and its mask at once."""

import math

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
        self, frame: NDArray[np.uint8], mask: NDArray[np.uint8], view: View, light: Light
    ) -> None:
        self._frame, self._mask = frame, mask
        self.frame, self.mask = frame, mask
        self.view, self.light = view, light

    def behind(self, place: Place) -> bool:
        """Hide what the next strokes paint behind the brow of a hill; False if that is all."""
        self.frame = self._frame[: place.clip]
        self.mask = self._mask[: place.clip]
        return place.clip > 0

    def convex(self, points: ArrayLike, colour: Colour, label: int) -> None:
        """Fill a convex polygon of (N, 2) columns and rows with a colour already lit."""
        fixed = (np.array(points) * 16.0).astype(np.int32)
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
        image, alpha = sprite.level(h)
        image = self.light.lit(image, distance)
        rows, columns = alpha.shape
        if (b - a, d - c) != (w, h):
            # Only the part in sight is scaled; its borders are rounded outwards to whole pixels.
            sx, sy = columns / w, rows / h
            u0, u1 = int((a - left) * sx), min(math.ceil((b - left) * sx), columns)
            v0, v1 = int((c - top) * sy), min(math.ceil((d - top) * sy), rows)
            image, alpha = image[v0:v1, u0:u1], alpha[v0:v1, u0:u1]
        size = (b - a, d - c)
        scaled = cv2.resize(image, size)
        outline = cv2.resize(alpha, size)
        _, solid = cv2.threshold(outline, 127, 255, cv2.THRESH_BINARY)
        target = self.frame[c:d, a:b]
        if size[0] * size[1] < 900:
            weight = outline.astype(np.float32) * np.float32(1 / 255)
            target[:] = cv2.blendLinear(scaled, target, weight, np.float32(1.0) - weight)
        else:
            cv2.copyTo(scaled, solid, target)
        self._label(np.asarray(solid, np.uint8), label, c, d, a, b)

    def _label(
        self, solid: NDArray[np.uint8], label: int, top: int, bottom: int, left: int, right: int
    ) -> None:
        paint = np.full(solid.shape, label, np.uint8)
        cv2.copyTo(paint, solid, self.mask[top:bottom, left:right])

    def wall(
        self,
        texture: Texture,
        corners: ArrayLike,
        distance: float,
        label: int,
        part: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        """Paint a texture onto a quadrangle (4, 2): from its top left corner, clockwise.

        `part` is the share of the texture that is left out on its left, and at its top.
        """
        quad = np.asarray(corners, np.float64)
        height, width = self.frame.shape[:2]
        low, high = quad.min(axis=0), quad.max(axis=0)
        a, b = max(math.floor(low[0]), 0), min(math.ceil(high[0]) + 1, width)
        c, d = max(math.floor(low[1]), 0), min(math.ceil(high[1]) + 1, height)
        if a >= b or c >= d or high[0] - low[0] < 0.3:
            return
        if (high[1] - low[1]) * (b - a) < 600.0:
            self.convex(quad, self.light.colour(texture.mean, distance), label)
            return
        image = texture.level(float(high[1] - low[1]) / (1.0 - part[1]))
        image = self.light.lit(image, distance)
        h, w = image.shape[:2]
        left, top = part[0] * w, part[1] * h
        source = np.array([[left, top], [w, top], [w, h], [left, h]], np.float32)
        target = (quad - [a, c]).astype(np.float32)
        matrix = cv2.getPerspectiveTransform(source, target)
        size = (b - a, d - c)
        flat = cv2.warpPerspective(
            image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        solid = np.zeros((size[1], size[0]), np.uint8)
        cv2.fillConvexPoly(solid, np.round(target * 16).astype(np.int32), 255, cv2.LINE_8, 4)
        cv2.copyTo(flat, solid, self.frame[c:d, a:b])
        self._label(solid, label, c, d, a, b)

    def shade(self, points: ArrayLike, strength: float) -> None:
        """Darken a polygon on the ground: a shadow. The mask stays as it is."""
        corners = np.array(points)
        height, width = self.frame.shape[:2]
        low, high = corners.min(axis=0), corners.max(axis=0)
        a, b = max(int(low[0]), 0), min(int(high[0]) + 2, width)
        c, d = max(int(low[1]), 0), min(int(high[1]) + 2, height)
        if a >= b or c >= d or strength < 0.04:
            return
        part = self.frame[c:d, a:b]
        solid = np.zeros((d - c, b - a), np.uint8)
        fixed = np.round((corners - [a, c]) * 16).astype(np.int32)
        cv2.fillPoly(solid, [fixed], 255, cv2.LINE_8, 4)
        dark = cv2.convertScaleAbs(part, alpha=1.0 - strength)
        cv2.copyTo(dark, solid, part)
