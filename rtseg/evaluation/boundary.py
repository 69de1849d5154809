"""How well the boundaries of classes are met: the boundary F1 measure."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.evaluation.confusion import VOID


def _boundaries(mask: NDArray[np.uint8], known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return where a known pixel touches, with a side, a known pixel of another class."""
    edges = np.zeros(mask.shape, np.bool_)
    for here, there in (
        (np.s_[:, :-1], np.s_[:, 1:]),
        (np.s_[:-1], np.s_[1:]),
    ):
        differs = (mask[here] != mask[there]) & known[here] & known[there]
        edges[here] |= differs
        edges[there] |= differs
    return edges


def _near(points: NDArray[np.bool_], reach: float) -> NDArray[np.bool_]:
    """Return which pixels are less than ``reach`` pixels from a point (Euclidean)."""
    if not points.any():
        return points
    away = (~points).astype(np.uint8)
    distance = cv2.distanceTransform(away, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    near: NDArray[np.bool_] = distance < reach
    return near


class BoundaryF1:
    """Boundary F1 (BF), summed over images (Csurka et al. 2013).

    A class's boundary is its pixels that touch another class with a side; the picture's rim is no
    boundary. A boundary pixel is matched where the same class's boundary of the other mask is less
    than ``tolerance`` × the picture's diagonal away. Precision is the share of predicted boundary
    pixels that are matched, recall that of true ones, F1 their harmonic mean. As in the paper, an
    image's score is the mean over the classes in its truth, and the set's the mean over images.

    VOID, and what is predicted there, is no class and makes no boundary. A boundary pixel without
    a match that is as near to VOID as it might be to its match is not counted: the match may be
    hidden. A class counts as 0 where only one mask has a boundary of it, and is left out of an
    image where neither has one.

    ``sums`` is (classes + 1, 2) float64: the sum of F1 and the number of images, for each class and
    then, in the last row, for the images' scores. Sums of several processes may be added up.
    """

    def __init__(self, classes: int, tolerance: float = 0.0075) -> None:
        if not 1 <= classes <= 255:
            raise ValueError(f"{classes} classes: a uint8 mask holds 1 to 255")
        if not 0 < tolerance < math.inf:
            raise ValueError(f"a tolerance of {tolerance}: a share of the diagonal, above 0")
        self.classes = classes
        self.tolerance = tolerance
        self.sums: NDArray[np.float64] = np.zeros((classes + 1, 2), np.float64)

    @classmethod
    def of(cls, sums: NDArray[np.float64], tolerance: float = 0.0075) -> BoundaryF1:
        """Make a measure of ``sums``, (classes + 1, 2); they are copied."""
        if sums.ndim != 2 or sums.shape[1] != 2:
            raise ValueError(f"sums of a boundary measure are (classes + 1, 2), not {sums.shape}")
        measure = cls(len(sums) - 1, tolerance)
        measure.sums += sums
        return measure

    def add(self, truth: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> None:
        """Score two (H, W) uint8 masks of one image; where the truth is VOID (255) neither counts.

        ``ValueError`` for masks of different shapes or another dtype, or an index that is no class.
        """
        if truth.dtype != np.uint8 or prediction.dtype != np.uint8:
            raise ValueError(f"masks are uint8, not {truth.dtype} and {prediction.dtype}")
        if truth.ndim != 2 or truth.shape != prediction.shape:
            raise ValueError(
                f"truth is {truth.shape}, prediction {prediction.shape}: not one (H, W)"
            )
        known = truth != VOID
        for what, mask in (("truth", truth), ("prediction", prediction)):
            if (mask[known] >= self.classes).any():
                raise ValueError(f"the {what} holds an index above {self.classes - 1}")
        reach = self.tolerance * math.hypot(*truth.shape)
        true_edges, predicted_edges = _boundaries(truth, known), _boundaries(prediction, known)
        clear = ~_near(~known, reach)
        scores = []
        for c in np.unique(truth[known]).tolist():
            score = _f1(
                true_edges & (truth == c), predicted_edges & (prediction == c), clear, reach
            )
            if score is not None:
                self.sums[c] += (score, 1)
                scores.append(score)
        if scores:
            self.sums[-1] += (sum(scores) / len(scores), 1)

    def merge(self, other: BoundaryF1) -> None:
        """Add another measure's images; ``ValueError`` for other classes or another tolerance."""
        if (self.classes, self.tolerance) != (other.classes, other.tolerance):
            raise ValueError(
                f"{self.classes} classes at {self.tolerance} and {other.classes} at"
                f" {other.tolerance}: not one measure"
            )
        self.sums += other.sums

    @property
    def f1(self) -> NDArray[np.float64]:
        """Mean F1 a class, (classes,), over the images that score it; NaN where none does."""
        total, images = self.sums[:-1].T
        scores: NDArray[np.float64] = np.full(self.classes, np.nan)
        np.divide(total, images, out=scores, where=images > 0)
        return scores

    @property
    def mean(self) -> float:
        """The mean of the images' scores; NaN where no image has a boundary."""
        total, images = self.sums[-1]
        return float(total / images) if images else float("nan")


def _f1(
    true: NDArray[np.bool_],
    predicted: NDArray[np.bool_],
    clear: NDArray[np.bool_],
    reach: float,
) -> float | None:
    """Return the F1 of one class's boundaries, (H, W) each; None where there are none to count."""
    rows, columns = np.nonzero(true | predicted)
    if not len(rows):
        return None
    # Distances matter within the box that holds both boundaries only.
    box = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    true, predicted, clear = true[box], predicted[box], clear[box]
    found, hits = true & _near(predicted, reach), predicted & _near(true, reach)
    of_true = np.count_nonzero(found | (true & clear))
    of_predicted = np.count_nonzero(hits | (predicted & clear))
    if not of_true and not of_predicted:
        return None
    if not found.any():
        return 0.0
    precision = np.count_nonzero(hits) / of_predicted
    recall = np.count_nonzero(found) / of_true
    return 2 * precision * recall / (precision + recall)
