"""Pictures that are in a dataset more than once, as the same pixels or in another encoding."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

NEAR = 2.5
"""Grey levels (RMS, at 32x32) below which two pictures are called nearly the same.

On CamVid JPEG at quality 20, at half the size, differs from its original by up to 1.7; frames that
follow each other at 15 a second differ by 4.0 or more.
"""

_SIDE = 32
_ROWS = 512  # compared at a time


class Duplicates:
    """Collects pictures, and tells which of them are the same.

    Args:
        within: Compare pictures of the same part too, for a dataset that is yet to be split; else
            only those of different parts.
    """

    def __init__(self, *, within: bool) -> None:
        self._within = within
        self._paths: list[Path] = []
        self._parts: list[str] = []
        self._hashes: list[bytes] = []
        self._small: list[NDArray[np.float32]] = []

    def add(self, path: Path, part: str, frame: NDArray[np.uint8]) -> None:
        """Add a picture (H, W, 3) uint8 BGR of a part of the dataset."""
        self._paths.append(path)
        self._parts.append(part)
        digest = hashlib.blake2b(repr(frame.shape).encode(), digest_size=16)
        digest.update(np.ascontiguousarray(frame).data)
        self._hashes.append(digest.digest())
        small = cv2.resize(frame, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
        self._small.append(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.float32).ravel())

    def exact(self) -> Iterator[tuple[Path, Path]]:
        """Yield pictures with the same pixels: a picture, and the first of its like before it."""
        alike: dict[bytes, list[int]] = {}
        for i, digest in enumerate(self._hashes):
            before = alike.setdefault(digest, [])
            rival = next(
                (j for j in before if self._within or self._parts[j] != self._parts[i]), None
            )
            if rival is not None:
                yield self._paths[i], self._paths[rival]
            before.append(i)

    def near(self) -> Iterator[tuple[Path, Path, float]]:
        """Yield pictures nearly the same, but not by all pixels: both, and their difference.

        The difference is the RMS of grey levels at 32x32, below :data:`NEAR`.
        """
        if not self._small:
            return
        small = np.stack(self._small)
        squares = np.square(small).sum(1)
        parts = np.unique(self._parts, return_inverse=True)[1]
        hashes = np.unique(np.array(self._hashes, "V16"), return_inverse=True)[1]
        for top in range(0, len(small), _ROWS):
            rows = slice(top, min(top + _ROWS, len(small)))
            before = slice(0, rows.stop)
            distance = squares[rows, None] + squares[before] - 2 * small[rows] @ small[before].T
            apart = np.arange(top, rows.stop)[:, None] <= np.arange(rows.stop)
            apart |= hashes[rows, None] == hashes[before]
            if not self._within:
                apart |= parts[rows, None] == parts[before]
            distance[apart] = np.inf
            nearest = distance.argmin(1)
            for row, j in enumerate(nearest.tolist()):
                square = max(float(distance[row, j]), 0.0) / small.shape[1]
                if square < NEAR * NEAR:
                    yield self._paths[top + row], self._paths[j], square**0.5
