"""A live frame and its buffers: allocated once, passed from hand to hand, never copied."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rtseg.engine.pictures import Paint, PicturePath

EMPTY: NDArray[np.uint8] = np.empty((0, 0, 3), np.uint8)


def now() -> int:
    """The one clock of the live path: monotonic nanoseconds."""
    return time.perf_counter_ns()


@dataclass
class LiveFrame:
    """One frame on its way from the source to the screen, in buffers that are used again.

    ``picture`` (H, W, 3) uint8 BGR is what was captured and, later, painted; ``small`` what the
    network takes; ``mask`` (h, w) uint8 what it gave; ``truth`` (H, W) uint8 the true mask in the
    network's classes (255: not scored), where the source knows it and ``has_truth`` says so.
    ``index`` counts the source's frames from 0, dropped ones included; ``captured`` and the other
    times are nanoseconds of :func:`now`.

    ``shrunk`` says whether ``small`` is of this picture. ``path`` is the way over the engine's
    device that the picture takes, None over the host (see :mod:`rtseg.video.segmenting`): ``paint``
    is with what it is painted there, ``clean`` the picture without it, where a window may want that,
    and ``places`` the arrays for it in the path's memory.
    """

    small: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    picture: NDArray[np.uint8] = field(default_factory=lambda: EMPTY)
    truth: NDArray[np.uint8] = field(default_factory=lambda: EMPTY[..., 0])
    has_truth: bool = False
    index: int = 0
    name: str = ""
    captured: int = 0
    decode: int = 0
    resize: int = 0
    submitted: int = 0
    shrunk: bool = False
    paint: Paint | None = None
    clean: NDArray[np.uint8] = field(default_factory=lambda: EMPTY)
    path: PicturePath | None = None
    places: tuple[NDArray[np.uint8], ...] = ()
