"""Streaming mIoU: every frame is scored with the newest mask that was finished when it came.

After Li, Wang and Ramanan, "Towards Streaming Perception" (ECCV 2020), adapted to masks: a network
that is slow is scored with the masks of frames that have passed, so that slowness costs accuracy.

The clock is simulated. Every frame's own time is measured once, in order, one frame at a time; when
the live loop would take which frame, and when each mask would be out, then follows by arithmetic,
for any frame rate. That equals a run in real time as long as a frame takes as long whenever it is
its turn: the mask of a frame depends on the frame alone, and the loop decides by the clock alone.
What it cannot know: a processor that rests between frames may run at another clock rate and with
colder caches; capturing and painting take cores from the engine while it runs; and with several
frames in flight each is slower than alone. ``rtseg-bench live`` runs in real time and has all that.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.engine import Engine
from rtseg.evaluation.confusion import ConfusionMatrix

Picture = NDArray[np.uint8]
Mask = NDArray[np.uint8]


class FrameTime(NamedTuple):
    """How long a frame took, whole nanoseconds, by who does it in the live loop.

    ``prepare``: the capture thread, from the picture to what the network takes. ``infer``: the
    engine, from submission to mask. ``finish``: the loop, from the mask to what is given out; until
    then it submits no other frame.
    """

    prepare: int
    infer: int
    finish: int

    @property
    def total(self) -> int:
        """From picture to full-size mask, when nothing has to be waited for."""
        return self.prepare + self.infer + self.finish


@dataclass(frozen=True)
class Schedule:
    """Which frames were taken, and when their masks were out; times are whole nanoseconds.

    ``arrivals`` has a time for each frame, in order. ``taken`` are indices of frames, ascending,
    ``finished`` the time of each one's mask, ascending too. All others were dropped.
    """

    arrivals: tuple[int, ...]
    taken: tuple[int, ...]
    finished: tuple[int, ...]

    @property
    def dropped(self) -> int:
        """How many frames were never taken."""
        return len(self.arrivals) - len(self.taken)

    def newest(self) -> list[int | None]:
        """For each frame, the one whose mask was the newest at its arrival; None before the first.

        A mask that is finished at the very moment of an arrival counts.
        """
        done = (bisect_right(self.finished, at) for at in self.arrivals)
        return [self.taken[count - 1] if count else None for count in done]


def arrivals(count: int, fps: float) -> list[int]:
    """When ``count`` frames arrive, nanoseconds: frame k at k / fps seconds."""
    return [round(k * 1e9 / fps) for k in range(count)]


def schedule(times: Sequence[FrameTime], fps: float, *, depth: int = 1) -> Schedule:
    """Work out what the live loop does with frames of these ``times`` that come at ``fps``.

    It is the loop of ``rtseg.video.pipeline`` with a live source. The capture thread prepares the
    frames one after the other and hands over one, the newest. One thread feeds the engine and
    finishes its masks, oldest first: it submits the newest frame there is while fewer than ``depth``
    are in flight, waits for the oldest in flight, submits the newest frame again, finishes the mask
    it has waited for, and begins anew. So it is free for a frame when a mask has come and after it
    is finished, not in between; and a frame that comes while the loop waits for a mask waits too,
    whatever ``depth`` is. A frame that is ready at the very moment the loop looks is taken. Live
    engines (mode ``latency``) have a depth of 1.

    With ``prepare`` and ``finish`` of 0 this is the paper's setting: the engine takes the newest
    frame as soon as it is free, and never waits while there is one that it has not seen.
    """
    if depth < 1:
        raise ValueError(f"a depth of {depth}: at least 1 frame is in flight")
    came = arrivals(len(times), fps)
    ready: list[int] = []
    busy = 0
    for at, frame in zip(came, times, strict=True):
        busy = max(at, busy) + frame.prepare
        ready.append(busy)
    taken: list[int] = []
    finished: list[int] = []
    flying: deque[tuple[int, int]] = deque()  # frame, when its mask is there
    clock, last = 0, -1

    def feed() -> None:
        nonlocal last
        while len(flying) < depth:
            newest = bisect_right(ready, clock) - 1
            if newest <= last:
                return
            last = newest
            flying.append((newest, clock + times[newest].infer))

    while True:
        feed()
        if not flying:
            if last == len(times) - 1:
                break
            clock = ready[last + 1]  # nothing to do until then
            continue
        frame_done, mask_there = flying.popleft()
        clock = max(clock, mask_there)
        feed()
        clock += times[frame_done].finish
        taken.append(frame_done)
        finished.append(clock)
    return Schedule(tuple(came), tuple(taken), tuple(finished))


class StreamingMiou:
    """mIoU in which a frame, or a pixel, without a class counts as a prediction of nothing.

    The paper scores frames that come before the first output with no detections at all: all of
    their objects are missed, and nothing is found wrongly. So every labelled pixel of such a frame
    is a miss of its class. ``frames`` counts all frames, ``unserved`` those without a mask.
    ``nothing`` is the index of it in predictions, one above the classes'.
    """

    def __init__(self, classes: int) -> None:
        self.nothing = classes
        # The last column is "nothing": it is never true, so it only adds to the misses.
        self.matrix = ConfusionMatrix(classes + 1)
        self.frames = 0
        self.unserved = 0

    def add(self, truth: Mask, prediction: Mask | None) -> None:
        """Score a frame: masks (H, W) uint8 of one shape; where the truth is 255 it is not scored.

        ``ValueError`` as in :meth:`ConfusionMatrix.add`.
        """
        if (truth == self.nothing).any():
            raise ValueError(f"the truth holds an index above {self.nothing - 1} that is not void")
        if prediction is None:
            prediction = np.full(truth.shape, self.nothing, np.uint8)
            self.unserved += 1
        self.matrix.add(truth, prediction)
        self.frames += 1

    def merge(self, other: StreamingMiou) -> None:
        """Add another's frames; ``ValueError`` where it has other classes."""
        self.matrix.merge(other.matrix)
        self.frames += other.frames
        self.unserved += other.unserved

    @property
    def iou(self) -> NDArray[np.float64]:
        """IoU a class, (classes,); NaN where neither side has it."""
        return self.matrix.iou[:-1]

    @property
    def miou(self) -> float:
        """Mean IoU over the classes that occur in the truth; NaN where nothing was counted."""
        return self.matrix.miou


def stretch(mask: Mask, width: int, height: int) -> Mask:
    """Return a mask at another size, by its nearest pixels."""
    if mask.shape == (height, width):
        return mask
    full = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return full.astype(np.uint8, copy=False)


def score(
    run: Schedule,
    masks: Sequence[Mask] | Mapping[int, Mask],
    truths: Sequence[Mask],
    into: StreamingMiou,
    table: NDArray[np.uint8],
    *,
    first: int = 0,
) -> None:
    """Score every frame of a run from ``first`` on, at its truth's size.

    ``truths`` has one for each frame, ``masks`` one for each that was taken. ``table`` (256,) uint8
    maps the masks' indices to the truths'. ``first`` above 0 leaves out the start, where a short run
    would weigh the wait for the first mask more than a long one does; the paper has it at 0.
    """
    for index, shown in enumerate(run.newest()):
        if index < first:
            continue
        truth = truths[index]
        mask = None
        if shown is not None:
            mask = table[stretch(masks[shown], truth.shape[1], truth.shape[0])]
        into.add(truth, mask)


class FrameTimer:
    """Takes pictures through an engine one at a time, and takes the time of each.

    Pictures are (height, width, 3) uint8 BGR. A mask is finished when it has the picture's size.
    """

    def __init__(self, engine: Engine, width: int, height: int) -> None:
        spec = engine.spec
        self._engine = engine
        self._small = engine.frame()
        self._size = (spec.width, spec.height)
        self._mask = np.empty((spec.mask_height, spec.mask_width), np.uint8)
        self._full = np.empty((height, width), np.uint8)

    def take(self, picture: Picture) -> tuple[FrameTime, Mask]:
        """Return a picture's times, and its mask (h, w) uint8 at the network's own size."""
        height, width = self._full.shape
        start = time.perf_counter_ns()
        cv2.resize(picture, self._size, dst=self._small)
        prepared = time.perf_counter_ns()
        self._engine.submit(self._small)
        self._engine.collect(self._mask)
        inferred = time.perf_counter_ns()
        cv2.resize(
            self._mask, (width, height), dst=self._full, interpolation=cv2.INTER_NEAREST_EXACT
        )
        finished = time.perf_counter_ns()
        times = FrameTime(prepared - start, inferred - prepared, finished - inferred)
        return times, self._mask.copy()
