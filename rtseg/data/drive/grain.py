"""The noise of the ground, which all textures of a drive's roads share."""

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.data.drive.chance import generator

__all__ = ["PERIOD", "Grains"]

PERIOD = 72.0
"""Metres after which a road's texture repeats; every dash period divides it."""

Image = NDArray[np.uint8]


class Grains:
    """The noise of a drive's ground at every resolution, which all its roads share."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._kept: dict[float, Image] = {}

    def grain(self, half: float, across: float, along: float) -> Image:
        """Return the noise of a texture `half` metres to each side."""
        if half not in self._kept:
            rng = generator(self._seed, 100, round(half))
            rows, columns = round(PERIOD * along), round(2 * half * across)
            self._kept[half] = _grain(rng, rows, columns, across, along)
        return self._kept[half]


def _grain(rng: np.random.Generator, rows: int, columns: int, across: float, along: float) -> Image:
    """Return tileable noise around 128: fine grain over blotches of a few metres."""
    total = rng.standard_normal((rows, columns), np.float32)
    total *= 9.0 if across > 10 else 5.0
    for metres, size in ((0.25, 10.0), (1.2, 13.0), (6.0, 16.0)):
        n_rows = max(2, round(rows / (2 * metres * along)))
        n_columns = max(2, round(columns / (metres * across)))
        if n_rows >= rows or n_columns >= columns:
            continue
        small = rng.normal(0, size, (n_rows, n_columns)).astype(np.float32)
        tall = rows + round(rows / n_rows)
        big = cv2.resize(np.vstack([small, small[:1]]), (columns, tall))
        total += big[tall - rows - (tall - rows) // 2 :][:rows]
    grain: Image = np.clip(total + 128.0, 0, 255).astype(np.uint8)
    return grain
