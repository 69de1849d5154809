"""The head-up display: a few lines of text on a darkened corner of the picture."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_SMALLEST = 0.45
"""Scale of text that is still easy to read."""


class HeadUpDisplay:
    """Draws lines of text in the picture's top left corner, in place.

    Text is drawn once when it changes and copied to every frame until then, since drawing it costs
    as much as painting the road. Its size follows the picture's height.
    """

    def __init__(self) -> None:
        self._key: tuple[object, ...] = ()
        self._text: NDArray[np.uint8] = np.empty((0, 0, 3), np.uint8)
        self._ink: NDArray[np.uint8] = np.empty((0, 0), np.uint8)

    def _render(self, lines: Sequence[str], height: int, width: int) -> None:
        scale = max(_SMALLEST, height / 1100)
        thickness = max(1, round(scale * 1.6))
        sizes = [cv2.getTextSize(line, _FONT, scale, thickness) for line in lines]
        room = 0.96 * width / max(1, *(size[0][0] for size in sizes))
        if room < 1:  # a narrow picture: rather smaller text than half of it
            scale *= room
            sizes = [cv2.getTextSize(line, _FONT, scale, thickness) for line in lines]
        step = round(max(size[0][1] + size[1] for size in sizes) * 1.35)
        margin = max(4, step // 2)
        wide = min(width, max(size[0][0] for size in sizes) + 2 * margin)
        tall = min(height, step * len(lines) + margin)
        self._ink = np.zeros((tall, wide), np.uint8)
        for i, line in enumerate(lines):
            at = (margin, margin // 2 + step * (i + 1) - step // 4)
            cv2.putText(self._ink, line, at, _FONT, scale, 255, thickness, cv2.LINE_AA)
        self._text = cv2.merge([self._ink] * 3).astype(np.uint8, copy=False)

    def draw(self, picture: NDArray[np.uint8], lines: Sequence[str]) -> None:
        """Draw ``lines`` over ``picture`` (H, W, 3) uint8 BGR."""
        if not lines:
            return
        height, width = picture.shape[:2]
        key = (tuple(lines), height, width)
        if key != self._key:
            self._render(lines, height, width)
            self._key = key
        tall, wide = self._ink.shape
        corner = picture[:tall, :wide]
        cv2.addWeighted(corner, 0.4, self._text, 0.85, 0, dst=corner)
