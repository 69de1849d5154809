"""What changed between two results of ``rtseg-bench``, and whether it is more than noise.

**Speed.** A row's change is the ratio of its median frames a second, new to old. Its interval comes
from drawing the rounds of both runs anew. But two runs are two days, perhaps two machines: where
several rows are in both results, a change that all of them share says something of the machine and
nothing of an engine. So each row is also set against a *reference row*, the one whose change is the
median of all (of an even number, the one of the middle two that changed less), round by round, since
the rounds of a run are interleaved. A row counts as faster or slower only if both its own change and
its change relative to the reference lie beyond noise: the interval does not hold 1, and the change is
3 % at least (:data:`LEAST`), which is what a program that is merely loaded elsewhere in memory may
differ. A row that has no other beside it is judged by its own change; the reference row never counts.

So a uniformly slower machine changes nothing, and one engine that alone became slower is found. That
all became slower alike by a fault of ours cannot be told from a slower machine, and is said as such
(``machine``).

**Accuracy.** Both runs scored the same frames, or it is not compared. mIoU is no random variable
then: a change of more than 0.002 (:data:`LEAST_MIOU`), which is what another version of a backend
rounds differently, counts.

**Rows** that the old result has and that failed in the new one count as worse. Those that were not
asked for are only named.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtseg.evaluation.bench_result import label
from rtseg.evaluation.bootstrap import draws, medians, middle

LEAST = 0.03
LEAST_MIOU = 0.002

_Row = Mapping[str, Any]


def _ms(row: _Row) -> list[float]:
    samples = row["samples"]
    return [s / n * 1e3 for s, n in zip(samples["seconds"], samples["frames"], strict=True)]


def _drawn(rows: Sequence[_Row], stream: int) -> list[NDArray[np.float64]]:
    """Draw each row's rounds, the same rounds for rows that have as many: they were interleaved."""
    return [medians(_ms(row), draws(len(_ms(row)), stream=stream)) for row in rows]


def _change(
    old: tuple[float, NDArray[np.float64]], new: tuple[float, NDArray[np.float64]]
) -> dict[str, Any]:
    """The ratio of speeds, new to old, of two medians of times with their draws."""
    low, high = middle(old[1] / new[1])
    ratio = old[0] / new[0]
    verdict = "same"
    if low > 1 and ratio >= 1 + LEAST:
        verdict = "faster"
    elif high < 1 and ratio <= 1 - LEAST:
        verdict = "slower"
    return {"ratio": ratio, "interval": [low, high], "verdict": verdict}


def _matched(old: Sequence[_Row], new: Sequence[_Row]) -> list[tuple[_Row, _Row]]:
    """Pair rows of the same engine: by the network's content, else by its name."""
    fields = ("backend", "precision", "batch", "mode")
    left = list(old)
    pairs: dict[int, _Row] = {}
    for identity in ("sha256", "network"):
        for number, row in enumerate(new):
            if number in pairs or row[identity] is None:
                continue
            for before in left:
                same = all(before[name] == row[name] for name in (identity, *fields))
                if same and list(before["size"]) == list(row["size"]):
                    pairs[number] = before
                    left.remove(before)
                    break
    return [(pairs[number], row) for number, row in enumerate(new) if number in pairs]


def _reference(ratios: Sequence[float]) -> int:
    """Which change is the median of all; of two in the middle, the one that is nearer to none."""
    order = sorted(range(len(ratios)), key=lambda i: ratios[i])
    middle_two = order[(len(order) - 1) // 2 : len(order) // 2 + 1]
    return min(middle_two, key=lambda i: abs(np.log(ratios[i])))


def _accuracy(old: _Row, new: _Row, same_frames: bool) -> dict[str, Any]:
    before, after = old["accuracy"]["miou"], new["accuracy"]["miou"]
    if before is None or after is None:
        return {"old": before, "new": after, "change": None, "verdict": "not scored"}
    if not same_frames:
        return {"old": before, "new": after, "change": None, "verdict": "other frames"}
    change = after - before
    verdict = "same"
    if abs(change) > LEAST_MIOU:
        verdict = "better" if change > 0 else "worse"
    return {"old": before, "new": after, "change": change, "verdict": verdict}


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Compare two results, as :func:`rtseg.evaluation.bench_result.read_result` returns them.

    Returns ``rows``, each with its ``speed``, its speed ``relative`` to the ``reference`` row (None
    without another row), its ``accuracy`` and the ``verdict`` (``faster``, ``slower``, ``same``, or
    ``machine`` where only all rows together changed); ``failed``, ``missing`` and ``added`` labels;
    and ``worse``: whether anything got worse beyond noise.
    """
    pairs = _matched(old["rows"], new["rows"])
    befores, afters = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    olds = [
        (statistics.median(_ms(r)), d) for r, d in zip(befores, _drawn(befores, 1), strict=True)
    ]
    news = [(statistics.median(_ms(r)), d) for r, d in zip(afters, _drawn(afters, 2), strict=True)]
    same_frames = old["data"] == new["data"]
    reference = None
    if len(pairs) > 1:
        reference = _reference([b[0] / a[0] for b, a in zip(olds, news, strict=True)])
    rows = []
    for i, (before, after) in enumerate(pairs):
        speed = _change(olds[i], news[i])
        relative = None
        verdict = speed["verdict"]
        if reference is not None:
            r = reference
            relative = _change(
                (olds[i][0] / olds[r][0], olds[i][1] / olds[r][1]),
                (news[i][0] / news[r][0], news[i][1] / news[r][1]),
            )
            if verdict != "same" and relative["verdict"] != verdict:
                verdict = "machine"
        rows.append(
            {
                "label": label(after),
                "same_file": before["sha256"] == after["sha256"],
                "fps": [before["fps"]["median"], after["fps"]["median"]],
                "speed": speed,
                "relative": relative,
                "verdict": verdict,
                "accuracy": _accuracy(before, after, same_frames),
            }
        )
    kept = {id(row) for pair in pairs for row in pair}
    lost = [row for row in old["rows"] if id(row) not in kept]
    failed = [row for row in lost if any(_is(row, failure) for failure in new["failed"])]
    worse = bool(failed) or any(
        row["verdict"] == "slower" or row["accuracy"]["verdict"] == "worse" for row in rows
    )
    return {
        "old": {key: old.get(key) for key in ("date", "rtseg", "machine")},
        "same_frames": same_frames,
        "reference": None if reference is None else rows[reference]["label"],
        "rows": rows,
        "failed": [label(row) for row in failed],
        "missing": [label(row) for row in lost if row not in failed],
        "added": [label(row) for row in new["rows"] if id(row) not in kept],
        "worse": worse,
    }


def _is(row: _Row, failure: _Row) -> bool:
    """Whether what failed was to be this row, as far as it had been said what it was to be."""
    return (
        failure["network"] == row["network"]
        and failure["backend"] in (None, row["backend"])
        and failure["precision"] in (None, row["precision"])
        and failure["batch"] == row["batch"]
        and failure["mode"] == row["mode"]
        and (failure["size"] is None or list(failure["size"]) == list(row["size"]))
    )
