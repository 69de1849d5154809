"""The way of a whole picture over a device that shrinks and paints it itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
"""(H, W, 3) uint8 BGR, of the camera's size."""


def nearest(short: int, long: int) -> NDArray[np.intp]:
    """Return (long,): which of ``short`` rows is the nearest to each of ``long``, by their centres.

    As ``cv2.INTER_NEAREST_EXACT`` has it. The bilinear shrinking of the picture aligns centres, too,
    while ``INTER_NEAREST`` aligns corners: it moves a mask by up to half a pixel of the mask.
    """
    rows = np.arange(short, dtype=np.uint16)[:, None]
    wide = cv2.resize(rows, (1, long), interpolation=cv2.INTER_NEAREST_EXACT)
    return wide[:, 0].astype(np.intp)


@dataclass(frozen=True, eq=False)
class Paint:
    """What is painted on a picture.

    ``colours`` (256, 3) uint8 BGR, a colour a class; ``painted`` (256,) uint8, 255 for the classes
    are painted and 0 for the others; ``opacity`` 0 to 1. None of it changes: what is painted anew
    is another object.
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
        """Return an array for pictures where the device reads and writes fastest.

        It is the caller's, to be used again and again: its memory is kept until :meth:`close`, and
        as long after that as the caller has it.
        """

    @abstractmethod
    def submit(self, picture: Picture, paint: Paint | None, into: Picture | None = None) -> None:
        """Start on a picture (H, W, 3) uint8 BGR; ``None`` leaves it unpainted.

        ``into`` is the array that :meth:`collect` will be given, where it is not ``picture`` itself:
        one of :meth:`picture`'s arrays is then painted by the device, without a copy on the host.
        Leave both alone until they are collected. ``ValueError`` for another shape or dtype,
        ``RuntimeError`` when ``depth`` are in flight.
        """

    @abstractmethod
    def collect(self, picture: Picture, mask: NDArray[np.uint8]) -> None:
        """Wait for the oldest picture; put it, painted, in ``picture`` and its mask in ``mask``.

        ``picture`` is the array that was submitted, or the ``into`` of then; any other costs a copy.
        ``mask`` is (h, w) uint8, of the spec's size. ``RuntimeError`` when nothing is in flight;
        ``BackendError`` when the device failed.
        """

    @abstractmethod
    def drain(self) -> None:
        """Wait for every picture in flight and forget it."""

    @abstractmethod
    def close(self) -> None:
        """Give back what it holds; the engine stays. Safe to call twice."""
