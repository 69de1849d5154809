"""Pictures kept at halving sizes, so that they shrink with distance without flicker."""

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Sprite", "Texture"]


def _halves(image: NDArray[np.uint8], least: int) -> list[NDArray[np.uint8]]:
    levels = [image]
    while min(image.shape[:2]) > least:
        size = (max(image.shape[1] // 2, 1), max(image.shape[0] // 2, 1))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        levels.append(image)
    return levels


class Sprite:
    """A picture (H, W, 3) with its outline (H, W), both uint8."""

    def __init__(self, image: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> None:
        self.shape = (image.shape[0], image.shape[1])
        self._levels = _halves(np.dstack([image, alpha]), 8)

    def level(self, height: int) -> NDArray[np.uint8]:
        """Return the smallest picture, its outline fourth, at least `height` pixels tall."""
        for image in reversed(self._levels):
            if image.shape[0] >= height:
                return image
        return self._levels[0]


class Texture:
    """A wall's surface, uint8 (H, W, 3)."""

    def __init__(self, image: NDArray[np.uint8]) -> None:
        # With a fourth channel that nobody looks at: OpenCV warps four twice as fast as three.
        padded = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2BGRA), np.uint8)
        self._levels = _halves(padded, 6)
        mean = image.reshape(-1, 3).mean(axis=0)
        self.mean = (float(mean[0]), float(mean[1]), float(mean[2]))
        top = image[0].mean(axis=0)
        self.top = (float(top[0]), float(top[1]), float(top[2]))

    def level(self, height: float) -> NDArray[np.uint8]:
        """Return the smallest picture (h, w, 4) that is not far below `height` pixels tall."""
        for image in reversed(self._levels):
            if image.shape[0] >= 0.6 * height:
                return image
        return self._levels[0]
