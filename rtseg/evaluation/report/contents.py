"""What the report says: rows, cells and sentences, from an evaluation's result and its records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtseg.evaluation.confusion import ConfusionMatrix

MOST_MATRIX = 40
"""The confusion matrix shows no more classes than these; the others are the rarest."""

_UNKNOWN = (140, 140, 140)
_KINDS = {
    "camvid": "CamVid",
    "camvid32": "CamVid (32 labels)",
    "kitti-road": "KITTI road",
    "drive": "the rendered drive",
}


@dataclass(frozen=True)
class ClassRow:
    """A class's line in the table. Scores and shares are 0–1, None where there are none.

    ``share`` is its part of the true pixels, ``predicted`` of the predicted ones; ``values`` are its
    IoU in each frame whose truth has it.
    """

    name: str
    colour: tuple[int, int, int]
    present: bool
    iou: float | None
    precision: float | None
    recall: float | None
    dice: float | None
    boundary_f1: float | None
    pixels: int
    share: float | None
    predicted: float | None
    values: tuple[float, ...]


@dataclass(frozen=True)
class MatrixRow:
    """A true class, and the shares (0–1) of its pixels that became each class; none if absent."""

    name: str
    colour: tuple[int, int, int]
    shares: tuple[float, ...]
    place: int


@dataclass(frozen=True)
class FrameRow:
    """A frame of the list; ``miou`` and ``pixel_accuracy`` (0–1) are None where it has no truth."""

    name: str
    miou: float | None
    pixel_accuracy: float | None


def dataset_name(dataset: Mapping[str, Any]) -> str:
    """Return what people call a dataset: its kind, or the folder's name where it is one's own."""
    kind, folder = str(dataset.get("kind") or ""), str(dataset.get("folder") or "")
    return _KINDS.get(kind) or PurePath(folder).name or kind or "unnamed frames"


def is_rest(name: str) -> bool:
    """Whether a class is what is left beside the others, which no picture paints."""
    return name.lower() in ("background", "other classes")


def class_colours(result: Mapping[str, Any]) -> dict[str, tuple[int, int, int]]:
    """Return the scored classes in order, or else the network's, each with its colour (RGB)."""
    palette: dict[str, tuple[int, int, int]] = {}
    # The network's colours go before those of a dataset that is scored by other classes.
    for part in (result.get("dataset") or {}, result["network"]):
        names, colours = part.get("classes") or (), part.get("palette") or ()
        for name, (r, g, b) in zip(names, colours, strict=True):
            if part is result["network"] or not is_rest(str(name)):
                palette[str(name).lower()] = (int(r), int(g), int(b))
    scored = (result.get("scores") or {}).get("classes") or result["network"]["classes"]
    return {str(name): palette.get(str(name).lower(), _UNKNOWN) for name in scored}


def frame_ious(records: Sequence[Mapping[str, Any]], classes: int) -> list[tuple[float, ...]]:
    """Return, for each class, its IoU in every frame whose truth has it, in the records' order."""
    values: list[list[float]] = [[] for _ in range(classes)]
    for record in records:
        counts = np.zeros((classes, classes), np.int64)
        for true, predicted, pixels in record.get("matrix") or ():
            counts[true, predicted] += pixels
        iou = ConfusionMatrix.of(counts).iou
        for c in np.flatnonzero(counts.sum(1)).tolist():
            values[c].append(float(iou[c]))
    return [tuple(of_class) for of_class in values]


def confusion_of(result: Mapping[str, Any]) -> NDArray[np.int64]:
    """Return the whole set's confusion matrix, (classes, classes); (0, 0) where there is none."""
    counts = result.get("confusion")
    return np.asarray(counts, np.int64) if counts else np.zeros((0, 0), np.int64)


def class_rows(
    result: Mapping[str, Any], records: Sequence[Mapping[str, Any]]
) -> tuple[ClassRow, ...]:
    """Return a row for each scored class, in the classes' order; none where nothing was scored."""
    scores = (result.get("scores") or {}).get("classes") or {}
    counts = confusion_of(result)
    if not scores or not counts.sum():
        return ()
    values = frame_ious(records, len(scores))
    total, predicted = int(counts.sum()), counts.sum(0)
    rows = []
    for i, ((name, colour), own) in enumerate(
        zip(class_colours(result).items(), scores.values(), strict=True)
    ):
        measures = {
            key: own.get(key) for key in ("iou", "precision", "recall", "dice", "boundary_f1")
        }
        pixels = int(own.get("pixels") or 0)
        rows.append(
            ClassRow(
                name=name,
                colour=colour,
                present=bool(own["present"]),
                pixels=pixels,
                share=pixels / total,
                predicted=int(predicted[i]) / total,
                values=values[i],
                **measures,
            )
        )
    return tuple(rows)


def matrix_rows(rows: Sequence[ClassRow], counts: NDArray[np.int64]) -> tuple[MatrixRow, ...]:
    """Return the row-normalised confusion matrix, at most :data:`MOST_MATRIX` classes a side."""
    kept = sorted(np.argsort(-counts.sum(1), kind="stable")[:MOST_MATRIX].tolist())
    found = []
    for place, i in enumerate(kept):
        total = int(counts[i].sum())
        shares = tuple(float(counts[i, j] / total) for j in kept) if total else ()
        found.append(MatrixRow(rows[i].name, rows[i].colour, shares, place))
    return tuple(found)


def frame_rows(
    result: Mapping[str, Any], records: Sequence[Mapping[str, Any]], most: int
) -> tuple[tuple[FrameRow, ...], int]:
    """Return the frames that were scored or written, and how many the list leaves out.

    Of more than ``most`` frames those with the lowest mIoU are kept; the order stays the dataset's.
    """
    frames = [
        FrameRow(str(frame["name"]), frame.get("miou"), frame.get("pixel_accuracy"))
        for frame in result.get("frames") or ()
    ]
    if not frames:
        frames = [
            FrameRow(str(record["name"]), record.get("miou"), None)
            for record in records
            if record.get("status") in ("scored", "written")
        ]
    over = max(0, len(frames) - most)
    if over:
        worst = sorted(range(len(frames)), key=lambda i: (_or_one(frames[i].miou), i))[:most]
        frames = [frames[i] for i in sorted(worst)]
    return tuple(frames), over


def _or_one(score: float | None) -> float:
    return 1.0 if score is None else score


def recall_curves(
    records: Sequence[Mapping[str, Any]], space: str
) -> tuple[list[float], list[float]] | None:
    """Return recall and precision (0–1) of the road at each of 256 thresholds, all frames summed.

    None where no record has the counts for this ``space``. The ``um_lane`` category is another
    task and left out.
    """
    counts = np.zeros((2, 256), np.int64)
    for record in records:
        own = (record.get("road") or {}).get(space)
        if own is not None and not str(record.get("category") or "").endswith("lane"):
            counts += np.asarray(own, np.int64)
    if not counts[1].any():
        return None
    positive = counts[:, ::-1].cumsum(1)  # by threshold, from the highest
    some = positive.sum(0) > 0
    recall = positive[1, some] / counts[1].sum()
    precision = positive[1, some] / positive[:, some].sum(0)
    return recall.tolist(), precision.tolist()
