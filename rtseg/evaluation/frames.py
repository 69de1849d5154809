"""The labelled frames that engines are measured on: those that ``rtseg-eval`` scores, or some of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.data.camvid import CAMVID11_LEGEND
from rtseg.data.labels import CAMVID11, ClassTable
from rtseg.data.layouts import detect_kind
from rtseg.data.rendered import HeldOutFrames
from rtseg.data.source import legend_of
from rtseg.errors import InputError, UsageError
from rtseg.evaluation.labelled import open_labelled
from rtseg.evaluation.samples import Mask, Picture, Sample, SkippedError, Truths
from rtseg.evaluation.scored_classes import ScoredClasses, scored_classes

T = TypeVar("T")


@dataclass(frozen=True)
class Frames:
    """A dataset, or the part of it that is measured on; can be sent to another process.

    ``kind`` is one of ``rtseg.evaluation.labelled.KINDS``. ``limit`` frames are taken, evenly from
    all (None: all). Of the drive, ``folder`` is where :func:`render_drive` has put it.
    """

    kind: str
    folder: Path
    split: str | None = None
    limit: int | None = None

    def describe(self) -> dict[str, Any]:
        """What a result says of it; two results with an equal one were scored on the same frames.

        ``InputError`` or ``UsageError`` where it cannot be opened.
        """
        if self.kind == "drive":
            count = len(_stored(self.folder)[0])
            return {"kind": "drive", "folder": None, "split": "val", "frames": count}
        dataset = open_labelled(self.folder, self._classes(), kind=self.kind, split=self.split)
        return {
            "kind": self.kind, "folder": self.folder.resolve().name, "split": dataset.split,
            "frames": len(evenly(dataset.samples, self.limit)),
        }  # fmt: skip

    def pictures(self, count: int) -> list[Picture]:
        """Read up to ``count`` of the frames, evenly spread, without their masks."""
        if self.kind == "drive":
            frames, _ = _stored(self.folder)
            return [np.array(frames[i]) for i in evenly(range(len(frames)), count)]
        dataset = open_labelled(self.folder, self._classes(), kind=self.kind, split=self.split)
        chosen = evenly(evenly(dataset.samples, self.limit), count)
        return [_read(sample, None)[0] for sample in chosen]

    def scored(self, network: ClassTable) -> Scored | None:
        """Return what a network of these classes is scored on; None where they have none in common."""
        try:
            if self.kind == "drive":
                classes = scored_classes(network, CAMVID11_LEGEND, "drive")
                return Scored(classes, _Rendered(self.folder, classes.truth))
            dataset = open_labelled(self.folder, network, kind=self.kind, split=self.split)
        except UsageError:
            return None
        assert dataset.scored is not None
        assert dataset.truths is not None
        return Scored(dataset.scored, _Read(evenly(dataset.samples, self.limit), dataset.truths))

    def _classes(self) -> ClassTable:
        return legend_of(self.kind, self.folder).classes


class _Read:
    """Pictures and true masks of samples, read as they are asked for."""

    def __init__(self, samples: Sequence[Sample], truths: Truths) -> None:
        self._samples = samples
        self._truths = truths

    def __iter__(self) -> Iterator[tuple[Picture, Mask]]:
        for sample in self._samples:
            picture, truth = _read(sample, self._truths)
            assert truth is not None
            yield picture, truth


class _Rendered:
    """What :func:`render_drive` has left in a folder, with masks of the scored classes."""

    def __init__(self, folder: Path, table: NDArray[np.uint8]) -> None:
        self._frames, self._masks = _stored(folder)
        self._table = table

    def __iter__(self) -> Iterator[tuple[Picture, Mask]]:
        for frame, mask in zip(self._frames, self._masks, strict=True):
            truth = cv2.LUT(np.array(mask), self._table)
            yield np.array(frame), truth.astype(np.uint8, copy=False)


@dataclass(frozen=True)
class Scored:
    """The classes that are scored, and pictures with their true masks, of the truth's own size."""

    classes: ScoredClasses
    pairs: _Read | _Rendered


def _read(sample: Sample, truths: Truths | None) -> tuple[Picture, Mask | None]:
    """Read a sample; ``InputError`` where an evaluation would skip it: a benchmark takes whole sets."""
    try:
        return sample.read(truths)
    except SkippedError as error:
        raise InputError(f"{error.detail}: see rtseg-data check") from error


def open_frames(folder: Path, kind: str | None, split: str | None, limit: int | None) -> Frames:
    """Return the frames of a dataset's folder, or of its split.

    ``InputError`` where the folder is missing or not laid out as its kind is, ``UsageError`` where
    the kind cannot be told or has no such split.
    """
    return Frames(kind or detect_kind(folder), folder, split, limit)


def render_drive(folder: Path, count: int | None) -> Frames:
    """Render ``count`` of the held-out drive's frames (None: all 60) into ``folder``."""
    count = min(count or HeldOutFrames.MOST, HeldOutFrames.MOST)
    images = HeldOutFrames(CAMVID11, np.arange(256, dtype=np.uint8), count)
    width, height = HeldOutFrames.SIZE
    frames = _array(folder / "frames.npy", (count, height, width, 3))
    masks = _array(folder / "masks.npy", (count, height, width))
    for i in range(count):
        frames[i], masks[i] = images.read(i)
    frames.flush()
    masks.flush()
    return Frames("drive", folder)


def _array(path: Path, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[np.uint8]]:
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)


def _stored(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The rendered frames and masks, read from the disk as they are used."""
    frames, masks = (np.load(folder / name, mmap_mode="r") for name in ("frames.npy", "masks.npy"))
    return frames, masks


def evenly(things: Sequence[T], count: int | None) -> list[T]:
    """Return ``count`` of them, evenly spread; all where there are no more."""
    if count is None or count >= len(things):
        return list(things)
    return [things[i * len(things) // count] for i in range(count)]
