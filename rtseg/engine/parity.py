"""Does an engine paint what the network says? Its masks against a reference engine's, in FP32."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.data.drive import Drive
from rtseg.engine.base import Engine

LEAST = 0.99
"""The share of pixels that must agree; below it an engine is not to be trusted."""

_MOMENTS = 97  # frames between two looks at a drive: far enough apart to differ


def rendered_frames(width: int, height: int, count: int) -> Iterator[NDArray[np.uint8]]:
    """Yield ``count`` frames (height, width, 3) uint8 BGR of several rendered drives."""
    for i in range(count):
        if i % 4 == 0:
            drive = Drive(width, height, seed=i)
        yield drive.frame(i * _MOMENTS)[0]


def agreement(engine: Engine, reference: Engine, frames: Iterable[NDArray[np.uint8]]) -> float:
    """Return the share of pixels, 0 to 1, on which two engines give the same class.

    ``frames`` (H, W, 3) uint8 BGR of any size are resized to the engines' own; NaN without frames.
    ``ValueError`` if the engines' sizes differ.
    """
    spec, other = engine.spec, reference.spec
    if (spec.width, spec.height, spec.mask_stride) != (
        other.width,
        other.height,
        other.mask_stride,
    ):
        raise ValueError("the engines are compiled for different sizes")
    same = total = 0
    for frame in frames:
        small = cv2.resize(frame, (spec.width, spec.height)).astype(np.uint8, copy=False)[None]
        equal = engine.infer(small) == reference.infer(small)
        same += int(np.count_nonzero(equal))
        total += equal.size
    return same / total if total else float("nan")
