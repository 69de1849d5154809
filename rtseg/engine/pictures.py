"""The way of a whole picture over a device that shrinks and paints it itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
"""(H, W, 3) uint8 BGR, of the camera's size."""


@dataclass(frozen=True)
class Paint:
    """What is painted on a picture.

    ``colours`` (256, 3) uint8 BGR, a colour a class; ``painted`` (256,) uint8, 255 for the classes
    that are painted and 0 for the others; ``opacity`` 0 to 1.
    """

    colours: NDArray[np.uint8]
    painted: NDArray[np.uint8]
    opacity: float


class PicturePath(ABC):
    """Takes pictures of one size through an engine: up once, shrunk, seen, painted, down once.

    The same as ``cv2.resize`` (bilinear), :meth:`rtseg.engine.Engine.submit` and
    ``rtseg.video.Painter.paint`` one after the other on the host, without contours. Up to ``depth``
    pictures are in flight, in order. One thread uses it at a time, and the engine itself rests.
    """

    depth: int

    @property
    @abstractmethod
    def pending(self) -> int:
        """How many pictures are in flight."""

    @abstractmethod
    def picture(self) -> Picture:
        """Return an array for pictures where the device reads fastest; it is the caller's."""

    @abstractmethod
    def submit(self, picture: Picture, paint: Paint | None) -> None:
        """Start on a picture (H, W, 3) uint8 BGR; ``None`` leaves it as it is.

        Leave the picture alone until it is collected. ``ValueError`` for another shape or dtype,
        ``RuntimeError`` when ``depth`` are in flight.
        """

    @abstractmethod
    def collect(self, picture: Picture, mask: NDArray[np.uint8]) -> None:
        """Wait for the oldest picture; put it, painted, in ``picture`` and its mask in ``mask``.

        ``picture`` may be the array that was submitted. ``mask`` is (h, w) uint8, of the spec's
        size. ``RuntimeError`` when nothing is in flight; ``BackendError`` when the device failed.
        """

    @abstractmethod
    def drain(self) -> None:
        """Wait for every picture in flight and forget it."""

    @abstractmethod
    def close(self) -> None:
        """Give back what it holds; the engine stays. Safe to call twice."""
