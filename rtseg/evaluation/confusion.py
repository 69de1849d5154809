"""Whole-set mIoU, per-class IoU and pixel accuracy from one confusion matrix."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

VOID = 255


class ConfusionMatrix:
    """Counts of (true class, predicted class) pixels, summed over everything that was added.

    ``matrix`` is (classes, classes) int64: rows are the truth, columns the prediction. Scores are
    computed once from the sum, never averaged over images (Everingham et al. 2010, PASCAL VOC).
    """

    def __init__(self, classes: int) -> None:
        if not 1 <= classes <= 255:
            raise ValueError(f"{classes} classes: a uint8 mask holds 1 to 255")
        self.classes = classes
        self.matrix: NDArray[np.int64] = np.zeros((classes, classes), np.int64)

    def add(self, truth: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> None:
        """Count two uint8 masks of one shape; pixels whose truth is VOID (255) are left out.

        ``ValueError`` for masks of different shapes or another dtype, or an index that is no class.
        """
        if truth.dtype != np.uint8 or prediction.dtype != np.uint8:
            raise ValueError(f"masks are uint8, not {truth.dtype} and {prediction.dtype}")
        if truth.shape != prediction.shape:
            raise ValueError(
                f"truth is {truth.shape}, prediction {prediction.shape}: not one shape"
            )
        # One histogram over a 16-bit code: several times faster than np.unique or boolean indexing.
        code = truth.astype(np.uint16).ravel()
        code <<= 8
        code |= prediction.ravel()
        counts = np.bincount(code, minlength=1 << 16).reshape(256, 256)
        if counts[self.classes : VOID].any():
            raise ValueError(f"the truth holds an index above {self.classes - 1} that is not void")
        if counts[: self.classes, self.classes :].any():
            raise ValueError(f"the prediction holds an index above {self.classes - 1}")
        self.matrix += counts[: self.classes, : self.classes]

    @property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union a class, (classes,); NaN where neither side has the class."""
        both = np.diag(self.matrix).astype(np.float64)
        union = self.matrix.sum(0) + self.matrix.sum(1) - both
        scores: NDArray[np.float64] = np.full(self.classes, np.nan)
        np.divide(both, union, out=scores, where=union > 0)
        return scores

    @property
    def miou(self) -> float:
        """Mean IoU over the classes that occur in the truth; NaN where nothing was counted.

        A class that only the prediction has is left out of the mean, but its false pixels still
        count against the classes they were taken from.
        """
        present = self.matrix.sum(1) > 0
        return float(self.iou[present].mean()) if present.any() else float("nan")

    @property
    def pixel_accuracy(self) -> float:
        """Share of counted pixels that are right; NaN where nothing was counted."""
        total = self.matrix.sum()
        return float(np.trace(self.matrix) / total) if total else float("nan")
