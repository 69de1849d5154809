"""From the records of all samples, in their order, to the figures of the whole set."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtseg.evaluation.boundary import BoundaryF1
from rtseg.evaluation.confusion import ConfusionMatrix
from rtseg.evaluation.kitti_road import URBAN, RoadCurve, by_category
from rtseg.evaluation.records import Record


def reduce_records(records: Sequence[Record], classes: Sequence[str] | None) -> dict[str, Any]:
    """Return the parts of a result that follow from the records alone.

    ``counts``, ``skipped``, ``frames``, ``confusion``, ``scores`` and ``kitti_road``, as plain JSON
    values: what cannot be told is None. ``classes`` are the names of those that are scored, None
    where nothing is.
    """
    scored = [record for record in records if record.status == "scored"]
    matrix = None if classes is None else _matrix(scored, len(classes))
    return {
        "counts": _counts(records),
        "skipped": [
            {"name": r.name, "reason": r.reason, "detail": r.detail}
            for r in records
            if r.status == "skipped"
        ],
        "scores": None if matrix is None else _scores(matrix, classes or (), scored),
        "confusion": None if matrix is None else matrix.counts.tolist(),
        "frames": [_frame(record) for record in scored],
        "kitti_road": _kitti_road(scored),
    }


def _counts(records: Sequence[Record]) -> dict[str, Any]:
    status = Counter(record.status for record in records)
    reasons = Counter(record.reason for record in records if record.status == "skipped")
    return {
        "frames": len(records),
        "scored": status["scored"],
        "written": status["written"],
        "skipped": status["skipped"],
        "reasons": dict(sorted(reasons.items(), key=lambda item: (-item[1], str(item[0])))),
    }


def _matrix(scored: Sequence[Record], classes: int) -> ConfusionMatrix:
    counts: NDArray[np.int64] = np.zeros((classes, classes), np.int64)
    for record in scored:
        for true, predicted, pixels in record.matrix or ():
            counts[true, predicted] += pixels
    return ConfusionMatrix.of(counts)


def _frame(record: Record) -> dict[str, Any]:
    right = total = 0
    for true, predicted, pixels in record.matrix or ():
        total += pixels
        right += pixels if true == predicted else 0
    return {
        "name": record.name,
        "miou": record.miou,
        "pixel_accuracy": right / total if total else None,
    }


def _boundary(scored: Sequence[Record], classes: int) -> BoundaryF1 | None:
    """Boundary F1 of the records that have it, added up as :class:`BoundaryF1` does it."""
    having = [record for record in scored if record.boundary is not None]
    if not having:
        return None
    sums = np.zeros((classes + 1, 2))
    for record in having:
        own = record.boundary or ()
        for c, score in own:
            sums[c] += (score, 1)
        if own:
            sums[-1] += (sum(score for _, score in own) / len(own), 1)
    return BoundaryF1.of(sums)


def _scores(
    matrix: ConfusionMatrix, names: Sequence[str], scored: Sequence[Record]
) -> dict[str, Any]:
    boundary = _boundary(scored, len(names))
    pixels = matrix.counts.sum(1)
    by_name = {
        "iou": matrix.iou,
        "precision": matrix.precision,
        "recall": matrix.recall,
        "dice": matrix.dice,
        "boundary_f1": np.full(len(names), np.nan) if boundary is None else boundary.f1,
    }
    classes: dict[str, Any] = {}
    for i, name in enumerate(names):
        present = bool(pixels[i])
        # Of a class that no mask has there is nothing to say, whatever was predicted.
        values = {key: number(values[i]) if present else None for key, values in by_name.items()}
        classes[name] = {**values, "pixels": int(pixels[i]), "present": present}
    return {
        "miou": number(matrix.miou),
        "pixel_accuracy": number(matrix.pixel_accuracy),
        "mean_accuracy": number(matrix.mean_accuracy),
        "mean_dice": number(matrix.mean_dice),
        "frequency_weighted_iou": number(matrix.frequency_weighted_iou),
        "boundary_f1": None if boundary is None else number(boundary.mean),
        "classes": classes,
    }


def number(value: float) -> float | None:
    """Return a plain float, or None for NaN."""
    return None if math.isnan(value) else float(value)


def _kitti_road(scored: Sequence[Record]) -> dict[str, Any] | None:
    """KITTI road's measures of each space and category that occurs."""
    found: dict[str, Any] = {}
    for space in ("perspective", "bev"):
        having = [
            (record.category, (record.road or {})[space])
            for record in scored
            if record.category is not None and space in (record.road or {})
        ]
        if not having:
            continue
        frames = Counter(category for category, _ in having)
        frames[URBAN] = sum(n for name, n in frames.items() if name.endswith("_road"))
        curves = by_category((category, RoadCurve.of(counts)) for category, counts in having)
        found[space] = {name: _road(curve, frames[name]) for name, curve in curves.items()}
    return found or None


def _road(curve: RoadCurve, frames: int) -> dict[str, Any]:
    scores: Mapping[str, float] = vars(curve.scores())
    return {**{key: number(value) for key, value in scores.items()}, "frames": frames}
