"""What a training asks of a dataset, and datasets of picture and mask files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.data.labels import ClassTable
from rtseg.data.layouts import Pair
from rtseg.data.masks import MaskDecoder
from rtseg.data.pictures import read_picture
from rtseg.errors import InputError


class LabelledImages(Protocol):
    """Frames and their masks, by index."""

    classes: ClassTable

    def __len__(self) -> int: ...

    def read(self, index: int, chance: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return a frame (H, W, 3) uint8 BGR and its mask (H, W) uint8 of ``classes``' indices.

        Pixels without a class are :data:`rtseg.data.labels.VOID`. ``chance`` (63 bits) decides all
        that is random: datasets of files pass over it, the rendered drive takes its seed and frame
        from it (:class:`rtseg.data.rendered.DriveFrames`), the same in every process.
        ``InputError`` names a file that cannot be read.
        """

    def name(self, index: int) -> str:
        """Return the picture's path, or which frame of the drive it is, for messages."""


class PairedImages:
    """Picture and mask files as :class:`LabelledImages`.

    Args:
        pairs: The files.
        decoder: Reads the masks, as indices of its legend.
        classes: What the masks that come out hold.
        table: (256,) uint8, from the legend's indices to those of ``classes``.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        decoder: MaskDecoder,
        classes: ClassTable,
        table: NDArray[np.uint8],
    ) -> None:
        self.classes = classes
        self._pairs = tuple(pairs)
        self._decoder = decoder
        self._table = table

    def __len__(self) -> int:
        return len(self._pairs)

    def name(self, index: int) -> str:
        """Return the picture's path."""
        return str(self._pairs[index].picture)

    def read(self, index: int, chance: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return frame and mask; see :class:`LabelledImages`."""
        pair = self._pairs[index]
        frame = read_picture(pair.picture)
        mask = self._decoder.read(pair.mask)
        require_same_size(pair, frame, mask)
        return frame, cv2.LUT(mask, self._table).astype(np.uint8, copy=False)


def require_same_size(pair: Pair, frame: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
    """Check that a mask fits its picture; ``InputError`` names both and their sizes."""
    if mask.shape != frame.shape[:2]:
        (height, width), (picture_height, picture_width) = mask.shape, frame.shape[:2]
        raise InputError(
            f"{pair.mask}: {width}x{height}, but its picture {pair.picture.name} has "
            f"{picture_width}x{picture_height}: masks have their picture's size"
        )
