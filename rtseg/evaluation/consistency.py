"""Temporal consistency (TC): whether masks move as the picture does; needs no labels.

As VSPW (Miao et al., CVPR 2021) and ETC (Liu et al., ECCV 2020) define it: the mask of a frame is
warped to the next frame by optical flow, and TC is the mIoU between that and the next frame's own
mask, from one confusion matrix over all pairs of neighbouring frames, as VSPW's own script has it.
1 is a mask that follows the picture perfectly, whether it is right or not: a network that always
says "background" is perfectly consistent. So TC stands beside mIoU, never in its place.

Two things differ from the papers, and figures are comparable only where they are the same. The flow
is DIS (Kroeger et al., ECCV 2016), which OpenCV has, instead of FlowNet2 or RAFT. And pixels that
have no counterpart are left out, where the papers count whatever the flow says: those that were
outside the picture, and those that fail the forward-backward check (Sundaram et al., ECCV 2010),
hidden ones mostly. ``check=False`` leaves that check out.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.evaluation.confusion import VOID, ConfusionMatrix

Picture = NDArray[np.uint8]
Mask = NDArray[np.uint8]
FlowField = NDArray[np.float32]
"""(H, W, 2): how far each pixel has moved, x and y, pixels."""


class Motion(NamedTuple):
    """Where the pixels of a picture were in the one before it.

    ``columns`` and ``rows`` (H, W) int64 are of the pixel they were, ``known`` (H, W) bool says
    whether there was one; where not, they point anywhere within the picture.
    """

    columns: NDArray[np.int64]
    rows: NDArray[np.int64]
    known: NDArray[np.bool_]

    def warp(self, mask: Mask) -> Mask:
        """Move a mask of the earlier picture, (H, W) uint8, to the later; VOID where not known."""
        return np.where(self.known, mask[self.rows, self.columns], np.uint8(VOID))


def motion_of(back: FlowField, forth: FlowField | None = None) -> Motion:
    """Make the motion of a flow from the later picture ``back`` to the earlier, to whole pixels.

    With the flow ``forth``, from the earlier picture to the later, a pixel is known only where there
    and back again ends where it began: |b + f|² ≤ 0.01 (|b|² + |f|²) + 0.5, f being taken where b
    leads to.
    """
    height, width = back.shape[:2]
    columns = np.rint(np.arange(width) + back[..., 0]).astype(np.int64)
    rows = np.rint(np.arange(height)[:, None] + back[..., 1]).astype(np.int64)
    known = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    columns, rows = np.clip(columns, 0, width - 1), np.clip(rows, 0, height - 1)
    if forth is not None:
        there = forth[rows, columns]
        error = ((back + there) ** 2).sum(-1)
        known &= error <= 0.01 * ((back**2).sum(-1) + (there**2).sum(-1)) + 0.5
    return Motion(columns, rows, known)


class OpticalFlow:
    """Finds the motion between two pictures by DIS, preset medium.

    The longer side of what it works on is at most ``side`` pixels: pictures, and the masks that are
    compared, are shrunk to that. TC depends on it, so compare only what has the same.
    """

    def __init__(self, side: int = 512, *, check: bool = True) -> None:
        self.side = side
        self.check = check
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def _grey(self, picture: Picture) -> Picture:
        height, width = picture.shape[:2]
        scale = min(1.0, self.side / max(height, width))
        grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
        if scale < 1:
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        return grey.astype(np.uint8, copy=False)

    def _flow(self, one: Picture, other: Picture) -> FlowField:
        # None for the flow to begin with: from none, so that a pair does not depend on the last.
        found = self._dis.calc(one, other, None)  # type: ignore[call-overload, unused-ignore]
        return np.asarray(found, np.float32)

    def motion(self, before: Picture, after: Picture) -> Motion:
        """Return the motion between two pictures, (H, W, 3) uint8 BGR of one size."""
        if before.shape != after.shape:
            raise ValueError(f"pictures of {before.shape} and {after.shape}: not one size")
        one, other = self._grey(before), self._grey(after)
        forth = self._flow(one, other) if self.check else None
        return motion_of(self._flow(other, one), forth)


class TemporalConsistency:
    """TC over pairs of neighbouring frames, of one video or several.

    ``matrix`` counts (warped mask, own mask) pixels, ``pixels`` all pixels that could have counted.
    """

    def __init__(self, classes: int) -> None:
        self.matrix = ConfusionMatrix(classes)
        self.pairs = 0
        self.pixels = 0

    def add(self, motion: Motion, before: Mask, after: Mask) -> None:
        """Compare the masks of two neighbouring frames, (h, w) uint8 each, at the motion's size.

        Where one of them is VOID (255) they are not compared.
        """
        height, width = motion.known.shape
        one, other = (
            cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT).astype(
                np.uint8, copy=False
            )
            for mask in (before, after)
        )
        warped = np.where(other == VOID, np.uint8(VOID), motion.warp(one))
        self.matrix.add(warped, np.where(warped == VOID, np.uint8(0), other))
        self.pairs += 1
        self.pixels += height * width

    def merge(self, other: TemporalConsistency) -> None:
        """Add another's pairs; ``ValueError`` where it has other classes."""
        self.matrix.merge(other.matrix)
        self.pairs += other.pairs
        self.pixels += other.pixels

    @property
    def iou(self) -> NDArray[np.float64]:
        """IoU a class, (classes,); NaN where neither side has it."""
        return self.matrix.iou

    @property
    def tc(self) -> float:
        """Mean IoU over the classes that either side has; NaN where nothing was compared.

        Neither side is the truth. A class that comes up for one frame counts as 0 if it never
        lasts to the next.
        """
        known = self.iou[~np.isnan(self.iou)]
        return float(known.mean()) if known.size else float("nan")

    @property
    def compared(self) -> float:
        """Share of the pixels that had a counterpart and were compared; NaN without pairs."""
        return float(self.matrix.matrix.sum() / self.pixels) if self.pixels else float("nan")
