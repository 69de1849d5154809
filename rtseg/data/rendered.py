"""The rendered drive as a dataset: endless frames for training, fixed ones held out for scoring."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.data.camvid import CAMVID11_LEGEND
from rtseg.data.drive import HELD_OUT_FRAMES, Drive
from rtseg.data.labels import CAMVID11_VOID, ClassTable, drive_table
from rtseg.data.merging import merge_legend

_FRAMES = 6000  # of a drive that are drawn from: 200 seconds
_LOW = 20  # bits of a chance that are the sample's own


class DriveFrames:
    """Frames that ``chance`` decides: which drive, of which size, and which of its frames.

    To set a drive up takes as long as to render a dozen frames, so an epoch draws all its frames
    from ``drives`` of them, and a process keeps as many: about 30 MB each at 640x480. The upper
    bits of a chance say which these are, the lower 20 bits which of them, and all bits the frame::

        slot  = (chance & 0xFFFFF) % drives
        seed  = low + hash(chance >> 20, slot) % (high - low)
        frame = hash(chance) % 6000

    So samples of an epoch have the upper bits in common. Nothing else has a say: any process gives
    the same frame for a chance, in any order.

    Args:
        classes: What the masks hold.
        table: (256,) uint8, from the drive's indices to those of ``classes``: :meth:`table`.
        frames: How many an epoch has; it is the length.
        seeds: Those of the drives, half open. Below 100 they are held out for scoring.
        sizes: Widths and heights of the drives, drawn like the seeds.
        drives: How many an epoch draws from.
    """

    SEEDS: ClassVar[tuple[int, int]] = (100, 100_000)
    SIZES: ClassVar[tuple[tuple[int, int], ...]] = ((640, 360), (640, 480), (768, 256))
    DRIVES: ClassVar[int] = 8

    endless = True
    """No index stands for a picture: it would be no use to keep them."""

    def __init__(
        self,
        classes: ClassTable,
        table: NDArray[np.uint8],
        frames: int,
        *,
        seeds: tuple[int, int] = SEEDS,
        sizes: Sequence[tuple[int, int]] = SIZES,
        drives: int = DRIVES,
    ) -> None:
        self.classes = classes
        self._table = table
        self._frames = frames
        self._seeds = seeds
        self._sizes = tuple(sizes)
        self._count = drives
        self._drives: OrderedDict[tuple[int, int, int], Drive] = OrderedDict()

    @staticmethod
    def table(
        classes: ClassTable, own: Mapping[str, str] | None = None, *, where: str = "merge"
    ) -> NDArray[np.uint8]:
        """Return the (256,) uint8 table from the drive's indices to those of ``classes``.

        ``own`` is as in :func:`rtseg.data.merging.merge_legend`. The car's bonnet is ``background``
        where there is one: see :func:`rtseg.data.labels.drive_table`.
        """
        table = merge_legend(CAMVID11_LEGEND, classes, own, where=where)
        if "void" not in (name.lower() for name in own or ()):
            table[CAMVID11_VOID] = drive_table(classes)[CAMVID11_VOID]
        return table

    def __len__(self) -> int:
        return self._frames

    def name(self, index: int) -> str:
        """Return which sample it is; what it shows is up to its chance."""
        return f"rendered drive, sample {index}"

    def place(self, chance: int) -> tuple[int, int, tuple[int, int]]:
        """Return the drive's seed, its frame, and its width and height, for a chance."""
        slot = (chance & ((1 << _LOW) - 1)) % self._count
        drive = _hash(chance >> _LOW, slot)
        low, high = self._seeds
        size = self._sizes[_hash(drive) % len(self._sizes)]
        return low + drive % (high - low), _hash(chance) % _FRAMES, size

    def read(self, index: int, chance: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return frame and mask of a chance; see :class:`rtseg.data.dataset.LabelledImages`."""
        seed, number, size = self.place(chance)
        key = (seed, *size)
        drive = self._drives.pop(key, None) or Drive(*size, seed=seed)
        self._drives[key] = drive
        if len(self._drives) > self._count:
            self._drives.popitem(last=False)
        frame, mask = drive.frame(number)
        return frame, cv2.LUT(mask, self._table).astype(np.uint8, copy=False)


class HeldOutFrames:
    """The drive's frames to score on, ``rtseg.data.drive.HELD_OUT_FRAMES``, or evenly some of them.

    Args:
        classes: What the masks hold.
        table: (256,) uint8, from the drive's indices to those of ``classes``.
        frames: How many, up to 60.
        size: Width and height.
    """

    MOST: ClassVar[int] = len(HELD_OUT_FRAMES)
    SIZE: ClassVar[tuple[int, int]] = (960, 540)

    def __init__(
        self,
        classes: ClassTable,
        table: NDArray[np.uint8],
        frames: int = MOST,
        size: tuple[int, int] = SIZE,
    ) -> None:
        self.classes = classes
        self._table = table
        self._places = [HELD_OUT_FRAMES[i * self.MOST // frames] for i in range(frames)]
        self._size = size
        self._drive: Drive | None = None

    def __len__(self) -> int:
        return len(self._places)

    def name(self, index: int) -> str:
        """Return the drive's seed and the frame."""
        seed, number = self._places[index]
        return f"drive {seed}/{number}"

    def read(self, index: int, chance: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return frame and mask of an index; ``chance`` has no say."""
        seed, number = self._places[index]
        if self._drive is None or self._drive.seed != seed:
            self._drive = Drive(*self._size, seed=seed)
        frame, mask = self._drive.frame(number)
        return frame, cv2.LUT(mask, self._table).astype(np.uint8, copy=False)


def _hash(*numbers: int) -> int:
    text = ",".join(map(str, numbers)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1
