"""The pictures of a report: truth and prediction over the frame, and where they differ."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.data.labels import VOID

Colours = Sequence[tuple[int, int, int]]
"""A colour (RGB, 0–255) for each class."""

_OPACITY = 0.55
_DIM = 0.4
_WRONG = (48, 48, 255)  # BGR
_UNSCORED = (150, 150, 150)
_STEPS = ((800, 84), (720, 80), (640, 76), (560, 72), (480, 66), (400, 60))
"""Widths and JPEG qualities to try, until all pictures together are small enough."""


@dataclass(frozen=True)
class ReportPicture:
    """A frame that the report shows.

    ``score`` is the frame's own mIoU, 0 to 1; ``frame`` (H, W, 3) uint8 BGR; ``truth`` and ``mask``
    (H, W) uint8 of the same size, VOID (255) where the truth has no class.
    """

    name: str
    kind: Literal["worst", "best"]
    score: float
    frame: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    mask: NDArray[np.uint8]

    def __post_init__(self) -> None:
        height, width = self.frame.shape[:2]
        if self.frame.shape != (height, width, 3):
            raise ValueError(f"{self.name}: a frame is (H, W, 3), not {self.frame.shape}")
        if self.truth.shape != (height, width) or self.mask.shape != (height, width):
            raise ValueError(
                f"{self.name}: frame {self.frame.shape[:2]}, truth {self.truth.shape}, mask "
                f"{self.mask.shape}: not one size"
            )

    @property
    def wrong(self) -> float:
        """The share of scored pixels whose class is wrong, 0 to 1; NaN where none is scored."""
        known = self.truth != VOID
        total = np.count_nonzero(known)
        return (
            float(np.count_nonzero(known & (self.truth != self.mask)) / total) if total else np.nan
        )


@dataclass(frozen=True)
class Shown:
    """A picture as it goes into the page: a data URI, and its size in pixels."""

    uri: str
    width: int
    height: int


def overlay(
    frame: NDArray[np.uint8], mask: NDArray[np.uint8], colours: Colours, clear: Sequence[int] = ()
) -> NDArray[np.uint8]:
    """Return ``frame`` with its classes' colours over it; ``clear`` classes and VOID stay bare.

    What is VOID is dimmed to grey, so that it is not taken for a class.
    """
    table = np.zeros((256, 1, 3), np.uint8)
    bare = np.full(256, 255, np.uint8)
    for i, (r, g, b) in enumerate(colours):
        table[i, 0] = (b, g, r)
        bare[i] = 255 if i in clear else 0
    layer = cv2.applyColorMap(mask, table)
    painted = cv2.addWeighted(frame, 1 - _OPACITY, layer, _OPACITY, 0)
    cv2.copyTo(frame, cv2.LUT(mask, bare), painted)
    unknown = mask == VOID
    painted[unknown] = painted[unknown] // 3 + np.array(_UNSCORED, np.uint8) // 3 * 2
    return painted.astype(np.uint8, copy=False)


def error_map(
    frame: NDArray[np.uint8], truth: NDArray[np.uint8], mask: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Return the frame dimmed and without colour, wrong pixels red, VOID ones grey."""
    grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
    picture = cv2.cvtColor((grey * _DIM).astype(np.uint8), cv2.COLOR_GRAY2BGR)
    picture[truth == VOID] = _UNSCORED
    picture[(truth != VOID) & (truth != mask)] = _WRONG
    return picture.astype(np.uint8, copy=False)


def views(
    picture: ReportPicture, colours: Colours, clear: Sequence[int] = ()
) -> list[NDArray[np.uint8]]:
    """Return the frame, the truth over it, the prediction over it, and the error map."""
    return [
        picture.frame,
        overlay(picture.frame, picture.truth, colours, clear),
        overlay(picture.frame, picture.mask, colours, clear),
        error_map(picture.frame, picture.truth, picture.mask),
    ]


def embed(pictures: Sequence[NDArray[np.uint8]], budget: int = 3_300_000) -> list[Shown]:
    """Return JPEGs as data URIs, the largest that fit into ``budget`` bytes together.

    Where even the smallest do not fit, they are what comes back.
    """
    shown: list[tuple[bytes, int, int]] = []
    for width, quality in _STEPS:
        shown = [_jpeg(picture, width, quality) for picture in pictures]
        if sum(len(data) for data, _, _ in shown) <= budget:
            break
    return [
        Shown("data:image/jpeg;base64," + base64.b64encode(data).decode("ascii"), width, height)
        for data, width, height in shown
    ]


def _jpeg(picture: NDArray[np.uint8], most: int, quality: int) -> tuple[bytes, int, int]:
    height, width = picture.shape[:2]
    if width > most:
        height, width = max(1, round(height * most / width)), most
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA).astype(
            np.uint8, copy=False
        )
    whole, data = cv2.imencode(".jpg", picture, (cv2.IMWRITE_JPEG_QUALITY, quality))
    if not whole:
        raise ValueError(f"a picture of {width}x{height} cannot be encoded")
    return data.tobytes(), width, height
