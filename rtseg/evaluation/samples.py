"""What is evaluated, one by one: a picture file with its mask, a rendered frame, decoded pixels.

A sample is a description, small and picklable but for :class:`PixelSample`, and is read where it is
needed: on a reading thread, or on another machine.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.data.drive import Drive
from rtseg.data.masks import MaskDecoder, UnknownLabelError
from rtseg.data.pictures import read_picture
from rtseg.errors import InputError

Picture = NDArray[np.uint8]
"""(H, W, 3) uint8 BGR."""

Mask = NDArray[np.uint8]
"""(H, W) uint8 of class indices; 255 is void."""


class SkippedError(Exception):
    """A sample cannot be evaluated: ``reason`` in a word or two, ``detail`` in a line."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Truths:
    """How true masks are read.

    ``decoder`` reads a mask file as indices of its legend (None where the samples render their
    masks); ``table`` (256,) uint8 leads from these to the classes that are scored, or to void.
    """

    table: NDArray[np.uint8]
    decoder: MaskDecoder | None = None


@dataclass(frozen=True)
class Sample(ABC):
    """One picture to evaluate.

    ``index`` is its place in the whole, ``name`` what results call it, ``output`` the path of what
    is written of it, below the output folder and without a suffix. ``category`` is its group in
    KITTI road, ``calibration`` the file that its bird's-eye view needs, where there are such.
    """

    index: int
    name: str
    output: str
    category: str | None = field(default=None, kw_only=True)
    calibration: Path | None = field(default=None, kw_only=True)

    @abstractmethod
    def read(self, truths: Truths | None) -> tuple[Picture, Mask | None]:
        """Return the picture and, where ``truths`` are asked for, its true mask of the same size.

        ``SkippedError`` where there is no mask, one of another size, or a file that cannot be read.
        """


@dataclass(frozen=True)
class FileSample(Sample):
    """A picture file and its mask file, if it has one.

    ``fault`` is a reason and a detail for which it is skipped, found when the files were listed.
    """

    picture: Path
    mask: Path | None = None
    fault: tuple[str, str] | None = None

    def read(self, truths: Truths | None) -> tuple[Picture, Mask | None]:
        """Return picture and mask; see :class:`Sample`."""
        if self.fault is not None:
            raise SkippedError(*self.fault)
        try:
            picture = read_picture(self.picture)
            if truths is None:
                return picture, None
            if self.mask is None or truths.decoder is None:
                raise SkippedError("no mask", f"{self.picture}: this picture has no mask")
            labels = truths.decoder.read(self.mask)
        except UnknownLabelError as error:
            raise SkippedError("unknown label", str(error)) from error
        except InputError as error:
            raise SkippedError("unreadable", str(error)) from error
        (height, width), (rows, columns) = picture.shape[:2], labels.shape
        if (height, width) != (rows, columns):
            raise SkippedError(
                "size",
                f"{self.mask}: {columns}x{rows}, but its picture {self.picture.name} has "
                f"{width}x{height}",
            )
        return picture, cv2.LUT(labels, truths.table).astype(np.uint8, copy=False)


_drives: OrderedDict[tuple[int, int, int], Drive] = OrderedDict()
_drives_lock = threading.Lock()
_KEPT = 2  # drives: to set one up takes as long as to render a dozen of its frames


@dataclass(frozen=True)
class DriveSample(Sample):
    """A frame of the rendered drive, which knows its own mask."""

    seed: int
    frame: int
    size: tuple[int, int] = (960, 540)

    def read(self, truths: Truths | None) -> tuple[Picture, Mask | None]:
        """Render picture and mask; see :class:`Sample`."""
        key = (self.seed, *self.size)
        with _drives_lock:
            drive = _drives.pop(key, None) or Drive(*self.size, seed=self.seed)
            _drives[key] = drive
            if len(_drives) > _KEPT:
                _drives.popitem(last=False)
            picture, labels = drive.frame(self.frame)
        if truths is None:
            return picture, None
        return picture, cv2.LUT(labels, truths.table).astype(np.uint8, copy=False)


@dataclass(frozen=True, eq=False)
class PixelSample(Sample):
    """A picture that is decoded already, of a video say, and its true mask if it has one."""

    picture: Picture
    mask: Mask | None = None

    def read(self, truths: Truths | None) -> tuple[Picture, Mask | None]:
        """Return picture and mask as they are."""
        return self.picture, self.mask


def output_names(names: list[str]) -> list[str]:
    """Return what to call the outputs of files: their names without suffix, where these differ.

    Names that would meet, ``a.jpg`` and ``a.png``, keep their suffixes.
    """
    stems = [name.rpartition(".")[0] or name for name in names]
    count: dict[str, int] = {}
    for stem in stems:
        count[stem.lower()] = count.get(stem.lower(), 0) + 1
    return [
        stem if count[stem.lower()] == 1 else name for stem, name in zip(stems, names, strict=True)
    ]
