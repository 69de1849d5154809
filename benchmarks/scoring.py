"""Scoring engines on labelled frames: what the benchmarks of accuracy share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.data.drive import HELD_OUT_FRAMES, Drive
from rtseg.data.labels import ClassTable, drive_table, merge_table
from rtseg.evaluation import ConfusionMatrix
from rtseg.spec import Spec

Masks = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
Labelled = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def class_table(spec: Spec) -> ClassTable:
    """Return a network's classes as a class table."""
    return ClassTable(spec.classes, spec.palette)


def drives(spec: Spec) -> Iterator[Labelled]:
    """Yield the rendered drive's held-out frames, 960×540, and their truths in ``spec``'s classes."""
    table = drive_table(class_table(spec))
    for seed, index in HELD_OUT_FRAMES:
        frame, mask = Drive(960, 540, seed=seed).frame(index)
        yield frame, table[mask]


def score(
    engines: Mapping[str, Masks],
    spec: Spec,
    frames: Iterable[Labelled],
    classes: ClassTable | None = None,
) -> dict[str, Any]:
    """Score every engine on the same frames, at the truth's own size, from one confusion matrix.

    ``classes`` are those of the truths, where they are fewer than the network's.
    """
    own = class_table(spec)
    classes = classes or own
    merged = merge_table(own, classes, None)
    matrices = {name: ConfusionMatrix(len(classes.names)) for name in engines}
    count = 0
    for frame, truth in frames:
        count += 1
        small = cv2.resize(frame, (spec.width, spec.height)).astype(np.uint8, copy=False)[None]
        for name, masks in engines.items():
            mask = cv2.resize(
                masks(small)[0], truth.shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT
            )
            matrices[name].add(truth, merged[mask])
    return {
        name: {
            "frames": count,
            "miou": matrix.miou,
            "iou": dict(zip(classes.names, map(float, matrix.iou), strict=True)),
            "pixel_accuracy": matrix.pixel_accuracy,
        }
        for name, matrix in matrices.items()
    }
