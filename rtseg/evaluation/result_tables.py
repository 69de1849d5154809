"""A result's tables as CSV: one line a frame, and one a class."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from rtseg.evaluation.records import Record

_CLASS = ("iou", "precision", "recall", "dice", "boundary_f1", "pixels", "present")


def frames_csv(result: Mapping[str, Any], records: Sequence[Record]) -> bytes:
    """Return a line a frame: index, name, status, reason, detail, mIoU, pixel accuracy."""
    accuracy = iter([frame["pixel_accuracy"] for frame in result["frames"]])
    return _csv(
        ("index", "name", "status", "reason", "detail", "miou", "pixel_accuracy"),
        [
            (
                record.index,
                record.name,
                record.status,
                record.reason,
                record.detail,
                record.miou,
                next(accuracy) if record.status == "scored" else None,
            )
            for record in records
        ],
    )


def classes_csv(result: Mapping[str, Any]) -> bytes:
    """Return a line a class: its scores, empty where there are none, and its true pixels."""
    classes = (result["scores"] or {}).get("classes", {})
    rows = [(name, *(values[key] for key in _CLASS)) for name, values in classes.items()]
    return _csv(("class", *_CLASS), rows)


def _csv(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue().encode("utf-8", "surrogateescape")
