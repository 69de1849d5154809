"""How fast engines are, measured in turns, with as many frames in flight as keep them busy."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rtseg.engine import Engine


def stream(engine: Engine, frames: Sequence[NDArray[np.uint8]]) -> float:
    """Run ``frames`` through ``engine`` without a pause; return the seconds a frame took."""
    mask = np.empty((engine.spec.mask_height, engine.spec.mask_width), np.uint8)
    start = time.perf_counter()
    for frame in frames:
        if engine.pending == engine.depth:
            engine.collect(mask)
        engine.submit(frame)
    while engine.pending:
        engine.collect(mask)
    return (time.perf_counter() - start) / len(frames)


def in_turns(
    engines: Mapping[str, Engine],
    frames: Mapping[str, Sequence[NDArray[np.uint8]]],
    rounds: int,
) -> dict[str, list[float]]:
    """Measure every engine once in each round, after one round that is not counted.

    Returns seconds a frame, a list a name. Turns, not blocks, since a machine that slows down for
    a minute must not decide who is faster.
    """
    names = list(engines)
    samples: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + 1):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            seconds = stream(engines[name], frames[name])
            if number:
                samples[name].append(seconds)
    return samples
