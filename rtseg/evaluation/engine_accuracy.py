"""How right an engine is: its masks against true ones, and against those of the network in FP32."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.data.labels import ClassTable
from rtseg.engine import Engine
from rtseg.errors import RtsegError, one_line
from rtseg.evaluation.confusion import ConfusionMatrix
from rtseg.evaluation.frames import Frames
from rtseg.evaluation.samples import Mask, Picture
from rtseg.evaluation.scoring import to_scored

_POOL = 16
"""Pictures to compare engines on where there is nothing to score."""

Reference = Callable[[], Engine | None]
"""Makes the engine to compare with; None where there is none."""


_UNSCORED: dict[str, Any] = {
    "miou": None, "iou": None, "pixel_accuracy": None, "frames": None, "reason": None, "note": None,
}  # fmt: skip
_UNCOMPARED: dict[str, Any] = {"share": None, "reference": None, "frames": None, "reason": None}


def unscored(reason: str) -> dict[str, Any]:
    """Return what :func:`score` does of an engine whose masks mean nothing."""
    return {**_UNSCORED, "reason": reason, "parity": {**_UNCOMPARED, "reason": reason}}


def score(
    engine: Engine, frames: Frames, reference: Reference, *, known_classes: bool = True
) -> dict[str, Any]:
    """Return an engine's mIoU, IoU a class and pixel accuracy on ``frames``, and its parity.

    Masks are brought to the truth's own size and scored from one confusion matrix, as ``rtseg-eval``
    does. Parity is the share of the pixels, at the engine's size, that are equal to the reference
    engine's. What cannot be told is None, and ``reason`` says why. Without ``known_classes`` nobody
    knows what the masks' indices mean.
    """
    spec = engine.spec
    scored = frames.scored(ClassTable(spec.classes, spec.palette)) if known_classes else None
    with _Comparison(reference) as comparison:
        if scored is None:
            pictures = ((picture, None) for picture in frames.pictures(_POOL))
            for small, masks, _ in _masks(engine, pictures):
                comparison.add(small, masks)
            why = "its classes are not known"
            if known_classes:
                why = "the frames' masks have none of its classes"
            return {**_UNSCORED, "reason": why, "parity": comparison.found()}
        classes = scored.classes
        matrix = ConfusionMatrix(len(classes.classes.names))
        count = 0
        for small, masks, truths in _masks(engine, scored.pairs):
            comparison.add(small, masks)
            for mask, truth in zip(masks, truths, strict=True):
                assert truth is not None
                matrix.add(truth, to_scored(mask, classes.mask, truth))
                count += 1
        return {
            "miou": matrix.miou,
            "iou": dict(zip(classes.classes.names, map(float, matrix.iou), strict=True)),
            "pixel_accuracy": matrix.pixel_accuracy,
            "frames": count,
            "reason": None,
            "note": classes.note or None,
            "parity": comparison.found(),
        }


class _Comparison:
    """Counts the pixels in which an engine and its reference agree, within a ``with``."""

    def __init__(self, reference: Reference) -> None:
        self._reason: str | None = "there is no engine to compare it with"
        self._reference: Engine | None = None
        self._same = self._pixels = self._frames = 0
        try:
            self._reference = reference()
        except RtsegError as error:
            self._reason = one_line(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._reference is not None:
            self._reference.close()

    def add(self, small: NDArray[np.uint8], masks: NDArray[np.uint8]) -> None:
        """Compare masks (N, h, w) of frames (N, H, W, 3)."""
        if self._reference is None:
            return
        try:
            equal = masks == self._reference.infer(small)
        except RtsegError as error:
            self._reference.close()
            self._reference, self._reason = None, one_line(error)
            return
        self._same += int(np.count_nonzero(equal))
        self._pixels += equal.size
        self._frames += len(masks)

    def found(self) -> dict[str, Any]:
        """Return the share of equal pixels, and what they were compared with."""
        if self._reference is None or not self._pixels:
            return {**_UNCOMPARED, "reason": self._reason}
        name = f"{self._reference.backend} {self._reference.precision}"
        share = self._same / self._pixels
        return {"share": share, "reference": name, "frames": self._frames, "reason": None}


def _masks(
    engine: Engine, pairs: Iterable[tuple[Picture, Mask | None]]
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8], list[Mask | None]]]:
    """Yield frames at the engine's size (N, H, W, 3), their masks (N, h, w), and the truths."""
    size = (engine.spec.width, engine.spec.height)
    iterator = iter(pairs)
    while batch := list(islice(iterator, engine.batch)):
        shrunk = [cv2.resize(picture, size).astype(np.uint8, copy=False) for picture, _ in batch]
        small = np.stack(shrunk)
        yield small, engine.infer(small), [truth for _, truth in batch]
