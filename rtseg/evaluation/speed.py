"""How fast an engine is: turns of many frames, with the latency of every one of them.

The job that is timed is the same for every engine: a uint8 BGR frame in host memory goes in, and the
mask of classes at the frame's full size comes out, in host memory. Normalisation, upsampling, argmax
and every copy are in it. Shrinking a camera's picture to the engine's size is not; ``rtseg-bench
live`` has that.
"""

from __future__ import annotations

import gc
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.engine.base import Engine, Mode
from rtseg.evaluation.machine import EnergyCounter, OthersClock
from rtseg.spec import Spec

WARM_UP = 5
"""Submissions before each turn that are not timed: the turn before has emptied the caches."""


@dataclass(frozen=True)
class Turn:
    """What one turn gave.

    ``frames`` were done in ``seconds``, ``cpu_seconds`` were used by this process on all cores
    meanwhile, ``others_share`` (0–1, or NaN) of the cores by others, ``joules`` by the processor
    (None if unknown). ``latencies_ms`` has a frame's way from submission to mask, for each
    submission: a batch is one.
    """

    frames: int
    seconds: float
    cpu_seconds: float
    others_share: float
    joules: float | None
    latencies_ms: tuple[float, ...]


def fill(
    engine: Engine, pictures: Sequence[NDArray[np.uint8]], count: int
) -> list[NDArray[np.uint8]]:
    """Return ``count`` arrays of the engine's own with ``pictures``, shrunk, in them.

    An engine of several frames at once gets as many different ones in each array.
    """
    spec = engine.spec
    size = (spec.width, spec.height)
    small = [cv2.resize(picture, size) for picture in pictures]
    arrays = []
    for i in range(count):
        array = engine.frame()
        batch = array.reshape(engine.batch, spec.height, spec.width, 3)
        for j in range(engine.batch):
            batch[j] = small[(i * engine.batch + j) % len(small)]
        arrays.append(array)
    return arrays


def take_turn(
    engine: Engine, frames: Sequence[NDArray[np.uint8]], count: int, seconds: float = 0.0
) -> Turn:
    """Run at least ``count`` submissions, and for ``seconds``, as many in flight as the engine takes.

    ``frames`` are arrays as :meth:`Engine.submit` takes them, used in turn. The pipe is full before
    the clocks start and stays full until they stop, as in a long run; ``engine.depth`` are in flight.
    """
    spec = engine.spec
    mask_shape = (spec.mask_height, spec.mask_width)
    masks = np.empty(mask_shape if engine.batch == 1 else (engine.batch, *mask_shape), np.uint8)
    full = np.empty((engine.batch, spec.height, spec.width), np.uint8)
    stretched = spec.mask_stride > 1
    submitted: deque[int] = deque()
    sent = 0

    def submit() -> None:
        nonlocal sent
        frame = frames[sent % len(frames)]
        submitted.append(time.perf_counter_ns())
        engine.submit(frame)
        sent += 1

    engine.drain()
    gc.collect()  # so that no turn pays for what came before it
    while engine.pending < engine.depth:
        submit()
    latencies: list[int] = []
    others, energy = OthersClock(), EnergyCounter()
    start = end = time.perf_counter_ns()
    cpu = time.process_time()
    done = -WARM_UP
    while done < count or end - start < seconds * 1e9:
        if done == -1:
            others.lap()  # takes a moment: not while a frame that counts is in the engine
            energy.lap()
        elif done == 0:  # from the moment that a mask is out to the moment that a later one is
            start, cpu = end, time.process_time()
            latencies.clear()
        engine.collect(masks)
        if stretched:
            _stretch(masks, full)
        end = time.perf_counter_ns()
        latencies.append(end - submitted.popleft())
        submit()
        done += 1
    cpu = time.process_time() - cpu
    joules, share = energy.lap(), others.lap()
    engine.drain()
    return Turn(
        frames=done * engine.batch,
        seconds=(end - start) / 1e9,
        cpu_seconds=cpu,
        others_share=share,
        joules=joules,
        latencies_ms=tuple(latency / 1e6 for latency in latencies),
    )


def _stretch(masks: NDArray[np.uint8], full: NDArray[np.uint8]) -> None:
    """Bring masks to the frame's size: who leaves that to the host pays for it on the clock."""
    size = full.shape[2], full.shape[1]
    for mask, out in zip(masks.reshape(len(full), *masks.shape[-2:]), full, strict=True):
        cv2.resize(mask, size, dst=out, interpolation=cv2.INTER_NEAREST_EXACT)


class NullEngine(Engine):
    """An engine that does nothing: what is measured with it is the benchmark itself.

    Its mask, all zeros, is copied out as every engine's is.
    """

    backend = "null"

    def __init__(
        self, spec: Spec, mode: Mode = "throughput", batch: int = 1, depth: int = 2
    ) -> None:
        super().__init__(
            spec, precision="none", device="none", depth=1 if mode == "latency" else depth,
            mode=mode, built=False, versions={}, batch=batch,
        )  # fmt: skip
        self._mask = np.zeros(self._mask_shape, np.uint8)

    def _start(self, slot: int, frame: NDArray[np.uint8]) -> None:
        """Do nothing."""

    def _finish(self, slot: int) -> NDArray[np.uint8]:
        return self._mask
