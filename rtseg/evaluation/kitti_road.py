"""KITTI road's pixel measures (Fritsch et al., ITSC 2013), as its development kit defines them.

A submission is a picture of 8 bits, divided by 255, and a pixel is road where that is at least a
threshold: 256 of them, k/255. So a pixel of value v is road from threshold k on if v >= k, exactly:
the kit divides in single precision, which rounds every v/255 upwards, since its binary digits repeat
after 8 places and 24 are kept.

True and false positives are summed over the frames of a category and scored once, never averaged
over frames. The kit adds 1e-10 to its denominators, which is left out here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtseg.evaluation.byte_counts import count_bytes

VOID = 255

CATEGORIES = ("um_lane", "um_road", "umm_road", "uu_road")
"""Urban marked (its ego-lane and its road), urban multiple marked lanes, urban unmarked."""

URBAN = "urban_road"
"""All road categories in one sum, as the benchmark ranks by; the ego-lane is not in it."""

_LEVELS = 256

_RECALLS = np.arange(0, 1.1, 0.1)
"""Where precision is read for AP: 11 values. Some are above the decimal fraction: 0.3 is not 3 of 10."""


def category_of(name: str) -> str | None:
    """Return the category of a picture (``um_000012.png``) or of a truth (``um_lane_000012.png``).

    One of :data:`CATEGORIES`; a picture's is that of its road. None where the name is not of KITTI
    road. A path's folders do not matter.
    """
    match = re.fullmatch(r"(umm|um|uu)_(?:(road|lane)_)?\d+", PurePath(name).stem)
    if match is None:
        return None
    category = f"{match[1]}_{match[2] or 'road'}"
    return category if category in CATEGORIES else None


@dataclass(frozen=True)
class RoadScores:
    """KITTI road's measures, each 0 to 1 (the benchmark prints percent).

    ``maxf`` is the largest F1 over the thresholds, ``precision``, ``recall``, false positive and
    false negative rate are those at its ``threshold``, the lowest where there are several. ``ap`` is
    the average precision of PASCAL VOC 2007, of 11 points. Where no pixel is road all are NaN; where
    all are road ``fpr`` is.
    """

    maxf: float
    ap: float
    precision: float
    recall: float
    fpr: float
    fnr: float
    threshold: float


class RoadCurve:
    """Counts of pixels by their true class and the 8 bits of their road probability.

    ``counts`` is (2, 256) int64: row 0 are the pixels that are not road, row 1 the road. Every
    measure is of these sums.
    """

    def __init__(self) -> None:
        self.counts: NDArray[np.int64] = np.zeros((2, _LEVELS), np.int64)

    def add(self, truth: NDArray[np.uint8], probability: NDArray[np.uint8]) -> None:
        """Count a frame: ``truth`` of 1 (road), 0 and VOID (255, left out), ``probability`` 0 to 255.

        ``ValueError`` for arrays of different shapes or another dtype, or another index in the truth.
        """
        if truth.dtype != np.uint8 or probability.dtype != np.uint8:
            raise ValueError(
                f"truth and probability are uint8, not {truth.dtype} and {probability.dtype}"
            )
        if truth.shape != probability.shape:
            raise ValueError(
                f"truth is {truth.shape}, probability {probability.shape}: not one shape"
            )
        counts = np.stack([count_bytes(probability, truth == value) for value in range(2)])
        void = int(np.count_nonzero(truth == VOID))
        if counts.sum() + void != truth.size:
            raise ValueError("the truth holds an index that is not 0, 1 or void")
        self.counts += counts

    @classmethod
    def of(cls, counts: ArrayLike) -> RoadCurve:
        """Make a curve of (2, 256) counts, such as those of a record; they are copied.

        ``ValueError`` for another shape, for what is no whole number, or a count below 0.
        """
        given = np.asarray(counts)
        if given.shape != (2, _LEVELS):
            raise ValueError(f"the counts of a road curve are (2, {_LEVELS}), not {given.shape}")
        if not np.issubdtype(given.dtype, np.integer) or (given < 0).any():
            raise ValueError("a road curve holds whole numbers from 0 up")
        curve = cls()
        curve.counts += given.astype(np.int64)
        return curve

    def merge(self, other: RoadCurve) -> None:
        """Add what another curve has counted."""
        self.counts += other.counts

    def __add__(self, other: RoadCurve) -> RoadCurve:
        total = RoadCurve.of(self.counts)
        total.merge(other)
        return total

    def scores(self) -> RoadScores:
        """Return the measures of all that was counted."""
        not_road, road = (int(total) for total in self.counts.sum(1))
        if not road:
            return RoadScores(*[float("nan")] * 7)
        # By threshold: the pixels of at least that value.
        false, true = np.cumsum(self.counts[:, ::-1], axis=1)[:, ::-1]
        recall = true / road
        # Where nothing is said to be road nothing of it is right.
        precision = true / np.maximum(true + false, 1)
        f1 = 2 * true / (true + false + road)  # of whole numbers, so that equal ones are equal
        best = int(f1.argmax())
        # Threshold 0 calls everything road: there is a precision for every recall.
        ap = np.mean([precision[recall >= least].max() for least in _RECALLS])
        return RoadScores(
            maxf=float(f1[best]),
            ap=float(ap),
            precision=float(precision[best]),
            recall=float(recall[best]),
            fpr=int(false[best]) / not_road if not_road else float("nan"),
            fnr=(road - int(true[best])) / road,
            threshold=best / (_LEVELS - 1),
        )


def by_category(curves: Iterable[tuple[str, RoadCurve]]) -> dict[str, RoadCurve]:
    """Sum the curves of frames, (category, curve) each, over the categories that occur.

    :data:`URBAN` is there too if any road category is. ``ValueError`` for an unknown category.
    """
    sums: dict[str, RoadCurve] = {}
    for category, curve in curves:
        if category not in CATEGORIES:
            raise ValueError(f"{category!r} is none of {', '.join(CATEGORIES)}")
        sums.setdefault(category, RoadCurve()).merge(curve)
        if category.endswith("_road"):
            sums.setdefault(URBAN, RoadCurve()).merge(curve)
    return {name: sums[name] for name in (*CATEGORIES, URBAN) if name in sums}
