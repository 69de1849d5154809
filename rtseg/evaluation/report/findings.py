"""What stands out in an evaluation, in sentences: what a reader would look up first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtseg.evaluation.report.contents import ClassRow
from rtseg.evaluation.report.numbers import count, percent

_WORTH_SAYING = 0.05
"""A confusion is named where at least this share of a class's pixels is lost to another."""
_FEW = 9
"""Of so many frames, quantiles say nothing."""


def findings(
    rows: Sequence[ClassRow],
    counts: NDArray[np.int64],
    frames: Sequence[float],
    result: Mapping[str, Any],
) -> list[tuple[str, str]]:
    """Return pairs of a heading and a sentence; ``frames`` are the frames' own mIoU, 0–1."""
    found = []
    present = sorted((row for row in rows if row.iou is not None), key=lambda row: -(row.iou or 0))
    if len(present) > 5:
        found.append(("Strongest", _listed(present[:3])))
        found.append(("Weakest", _listed(present[:-4:-1])))
    lost = _confusions(rows, counts)
    if lost:
        found.append(("Most often mistaken", "; ".join(lost) + "."))
    if len(frames) > _FEW:
        low, middle = np.quantile(np.asarray(frames), (0.1, 0.5)).tolist()
        found.append(
            (
                "From frame to frame",
                f"Half of the frames reach a mIoU of {_with_sign(middle)}, nine in ten reach "
                f"{_with_sign(low)}.",
            )
        )
    absent = [row.name for row in rows if not row.present]
    if absent:
        found.append(
            ("Absent", f"{', '.join(absent)}: not in the truth of any frame, so not scored.")
        )
    left = result["counts"].get("skipped") or 0
    if left:
        reasons = result["counts"].get("reasons") or {}
        why = ", ".join(f"{reason} {count(n)}" for reason, n in reasons.items())
        why = next(iter(reasons)) if len(reasons) == 1 else why
        found.append(
            ("Skipped", f"{count(left)} of {count(result['counts']['frames'])} frames: {why}.")
        )
    return found


def quantiles(frames: Sequence[float]) -> list[tuple[str, float]]:
    """Return what describes the frames' own mIoU (0–1), lowest first, each with its label."""
    if not frames:
        return []
    values = np.asarray(frames)
    labels = {
        "Lowest": 0.0,
        "A tenth is below": 0.1,
        "A quarter is below": 0.25,
        "Half is below": 0.5,
        "A quarter is above": 0.75,
        "Highest": 1.0,
    }
    if len(values) <= _FEW:
        labels = {label: part for label, part in labels.items() if part in (0.0, 1.0)}
    return [(label, float(np.quantile(values, part))) for label, part in labels.items()]


def _with_sign(share: float | None) -> str:
    return f"{percent(share)}\N{NO-BREAK SPACE}%"


def _listed(rows: Sequence[ClassRow]) -> str:
    return ", ".join(f"{row.name} {_with_sign(row.iou)}" for row in rows) + " IoU."


def _confusions(rows: Sequence[ClassRow], counts: NDArray[np.int64]) -> list[str]:
    """Return the three largest shares of a class's pixels that became one other class."""
    totals = counts.sum(1)
    pairs = [
        (float(counts[i, j] / totals[i]), rows[i].name, rows[j].name)
        for i in range(len(rows))
        for j in range(len(rows))
        if i != j and totals[i]
    ]
    pairs.sort(key=lambda pair: -pair[0])
    return [
        f"{_with_sign(share)} of {true} is taken for {predicted}"
        for share, true, predicted in pairs[:3]
        if share >= _WORTH_SAYING
    ]
