"""One turn of a contender, timed from outside, and what a series of times is summed up to."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.engine import Engine
from rtseg.engine.pictures import PicturePath
from rtseg.video.overlay import Painter

Picture = NDArray[np.uint8]

WARM_UP = 2
"""Runs before each turn that are not timed: the turn before has emptied the caches."""

LEAST = 3
"""Runs that are timed in any turn, however long they take."""

BINS = 32


def summary(times: Sequence[float]) -> dict[str, Any]:
    """Sum up milliseconds: count, mean, p50, p95, p99, max, and the whole histogram.

    The histogram's edges are spaced evenly in the logarithm from the least to the greatest time;
    nothing is clipped.
    """
    values = np.asarray(times, float)
    low, high = float(values.min()), float(values.max())
    if high > low > 0:
        edges = np.geomspace(low, high, BINS + 1)
        edges[0], edges[-1] = low, high  # geomspace rounds, and nothing may fall out
    else:
        edges = np.array([low, high])
    counts = np.histogram(values, edges)[0] if high > low else np.array([len(values)])
    p50, p95, p99 = (float(p) for p in np.percentile(values, (50, 95, 99)))
    return {
        "count": len(values),
        "mean": float(values.mean()),
        "min": low,
        "p50": p50,
        "p95": p95,
        "p99": p99,
        "max": high,
        "histogram": {"edges_ms": edges.tolist(), "counts": counts.tolist()},
    }


def repeat(once: Callable[[], float], seconds: float) -> list[float]:
    """Call ``once``, which returns milliseconds, for about ``seconds``; at least LEAST times."""
    for _ in range(WARM_UP):
        once()
    end = time.perf_counter() + seconds
    times: list[float] = []
    while len(times) < LEAST or time.perf_counter() < end:
        times.append(once())
    return times


def to_mask(engine: Engine, arrays: Sequence[Picture]) -> Callable[[], float]:
    """Make what times one run: from a frame (or batch) in an engine's array to its mask, in ms."""
    mask = engine.infer(_whole(engine, arrays[0]))
    mask = np.empty_like(mask if engine.batch > 1 else mask[0])
    number = 0

    def once() -> float:
        nonlocal number
        array = arrays[number % len(arrays)]
        number += 1
        start = time.perf_counter()
        engine.submit(array)
        engine.collect(mask)
        return (time.perf_counter() - start) * 1e3

    return once


def _whole(engine: Engine, array: Picture) -> Picture:
    return array[None] if engine.batch == 1 else array


def painted_by_host(
    engine: Engine, painter: Painter, pictures: Sequence[Picture]
) -> Callable[[], float]:
    """Make what times one full-size picture to its painted self: OpenCV shrinks, the host paints."""
    spec = engine.spec
    small, picture = engine.frame(), np.empty_like(pictures[0])
    mask = np.empty((spec.mask_height, spec.mask_width), np.uint8)
    number = 0

    def once() -> float:
        nonlocal number
        np.copyto(picture, pictures[number % len(pictures)])
        number += 1
        start = time.perf_counter()
        cv2.resize(picture, (spec.width, spec.height), dst=small)
        engine.submit(small)
        engine.collect(mask)
        painter.paint(picture, mask)
        return (time.perf_counter() - start) * 1e3

    return once


def painted_by_device(
    path: PicturePath, engine: Engine, painter: Painter, pictures: Sequence[Picture]
) -> Callable[[], float]:
    """Make what times one full-size picture up, shrunk, seen and painted there, and down."""
    spec = engine.spec
    picture = path.picture()
    mask = np.empty((spec.mask_height, spec.mask_width), np.uint8)
    number = 0

    def once() -> float:
        nonlocal number
        np.copyto(picture, pictures[number % len(pictures)])
        number += 1
        start = time.perf_counter()
        path.submit(picture, painter.table())
        path.collect(picture, mask)
        return (time.perf_counter() - start) * 1e3

    return once


def flow(engine: Engine, arrays: Sequence[Picture], seconds: float) -> float:
    """Keep ``engine.depth`` frames (or batches) in flight for ``seconds``; return masks a second.

    The pipe is full before the clock starts and stays full until it stops, as in a long run.
    """
    spec = engine.spec
    several = () if engine.batch == 1 else (engine.batch,)
    mask = np.empty((*several, spec.mask_height, spec.mask_width), np.uint8)
    sent = 0
    while engine.pending < engine.depth:
        engine.submit(arrays[sent % len(arrays)])
        sent += 1
    start = end = math.inf
    done = -max(WARM_UP, engine.depth)
    now = time.perf_counter()
    while done < LEAST or now < end:
        if done == 0:
            start, end = now, now + seconds
        engine.collect(mask)
        engine.submit(arrays[sent % len(arrays)])
        sent += 1
        done += 1
        now = time.perf_counter()
    engine.drain()
    return done * engine.batch / (now - start)
