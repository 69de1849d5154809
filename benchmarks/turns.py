"""Turns of a benchmark: frames through an engine or a PyTorch module, in milliseconds a frame."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.engine import Engine

Picture = NDArray[np.uint8]

WARM_UP = 2
"""Frames before each turn that are not timed: the turn before has emptied the caches."""


def stream(
    engine: Engine,
    frames: Sequence[Picture],
    count: int,
    mask_done: Callable[[Picture], None] | None = None,
) -> tuple[float, float]:
    """Take ``count`` frames through an engine, as many in flight as it takes.

    Returns the seconds that passed, and the CPU seconds of this process.

    The pipe is full before the clock starts and stays full until it stops, as in a long run:
    ``count`` masks are collected in between. ``mask_done`` is called with each, and is timed.
    """
    engine.drain()
    mask = np.empty((engine.spec.mask_height, engine.spec.mask_width), np.uint8)
    sent = 0
    while engine.pending < engine.depth:
        engine.submit(frames[sent % len(frames)])
        sent += 1
    start = cpu = 0.0
    for done in range(-WARM_UP, count):
        if done == 0:
            start, cpu = time.perf_counter(), time.process_time()
        engine.collect(mask)
        engine.submit(frames[sent % len(frames)])
        sent += 1
        if mask_done is not None:
            mask_done(mask)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    engine.drain()
    return seconds, cpu


def engine_turn(engine: Engine, frames: Sequence[Picture], count: int) -> Callable[[], float]:
    """Make the turn of an engine: milliseconds a frame, from frame to mask at the frame's size.

    An engine whose masks are smaller pays for stretching them.
    """
    height, width = frames[0].shape[:2]
    full = np.empty((height, width), np.uint8)
    smaller = engine.spec.mask_stride > 1

    def stretch(mask: Picture) -> None:
        cv2.resize(mask, (width, height), dst=full, interpolation=cv2.INTER_NEAREST_EXACT)

    def turn() -> float:
        seconds, _ = stream(engine, frames, count, stretch if smaller else None)
        return seconds / count * 1e3

    return turn


def eager_turn(
    contract: Any, frames: Sequence[Picture], count: int, threads: int
) -> Callable[[], float]:
    """Make the turn of a PyTorch module under the contract: milliseconds a frame, one at a time."""
    import torch

    def once(frame: Picture) -> Picture:
        mask: Picture = contract(torch.from_numpy(frame)[None])[0].numpy()
        return mask

    def turn() -> float:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            for done in range(WARM_UP):
                once(frames[done % len(frames)])
            start = time.perf_counter()
            for done in range(count):
                once(frames[done % len(frames)])
            return (time.perf_counter() - start) / count * 1e3

    return turn
