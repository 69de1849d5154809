"""How often each byte occurs in an array: what pixels are counted with."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_EXACT = 1 << 24  # pixels up to which OpenCV's histogram of float32 counts exactly


def count_bytes(
    pixels: NDArray[np.uint8], where: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """Count each value of ``pixels``, uint8 of any shape, (256,); only ``where`` it is True.

    By OpenCV's histogram, which takes half the time of ``np.bincount``.
    """
    flat = np.ascontiguousarray(pixels).reshape(1, -1)
    mask = None if where is None else np.ascontiguousarray(where).reshape(1, -1).view(np.uint8)
    counts: NDArray[np.int64] = np.zeros(256, np.int64)
    for start in range(0, flat.size, _EXACT):
        part = np.s_[:, start : start + _EXACT]
        own = None if mask is None else mask[part]
        counts += cv2.calcHist([flat[part]], [0], own, [256], [0, 256]).ravel().astype(np.int64)
    return counts
