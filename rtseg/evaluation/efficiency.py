"""What an evaluation costs beside its engines: both measured in turns, in one process.

A machine drifts, and others use it: so the bare engine, the evaluation of decoded pictures and that
of files take turns, and what counts is the ratio within a round. Where cores are shared with others
the ratio of the CPU time is the steadier one: host work takes from a CPU engine what it uses itself.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

from rtseg.engine import Engine
from rtseg.errors import InputError
from rtseg.evaluation.machine import OthersClock
from rtseg.evaluation.running import LocalRunner
from rtseg.evaluation.samples import Mask, Picture, PixelSample, Sample, SkippedError
from rtseg.evaluation.scoring import Work
from rtseg.evaluation.speed import fill, take_turn

_PICTURES = 16  # decoded, kept in memory
_TURN_S = 2.0

Figures = tuple[float, float]
"""Frames a second, and CPU milliseconds of this process a frame."""


def measure_efficiency(
    engines: Sequence[Engine],
    samples: Sequence[Sample],
    work: Work,
    rounds: int = 5,
    seconds: float = _TURN_S,
) -> dict[str, Any]:
    """Measure the bare engines, evaluation of decoded pictures, and evaluation as it runs.

    ``samples`` are some that can be read, used again and again; nothing is written. A turn takes
    about ``seconds``.

    Returns ``engine_fps``, ``decoded_fps`` and ``read_fps``, medians over the rounds; ``efficiency``,
    the median of decoded / engine by round, ``read_efficiency`` likewise; ``cpu_efficiency``, the
    engine's CPU time a frame ÷ that of the evaluation of decoded pictures; and ``rounds``, all of
    it. ``others_share`` is how much of the cores others had in a round.
    ``InputError`` where none of the samples can be read.
    """
    work = replace(work, masks=None, painted=None)
    readable, decoded = _decoded(samples, work)
    bare = [
        fill(engine, [sample.picture for sample in decoded], len(decoded)) for engine in engines
    ]
    warm = sum(engine.depth * engine.batch for engine in engines)
    count = 0

    def engine_turn() -> Figures:
        each = max(1, count // (len(engines) * engines[0].batch))
        if len(engines) == 1:
            turn = take_turn(engines[0], bare[0], each)
            return turn.frames / turn.seconds, 1e3 * turn.cpu_seconds / turn.frames
        cpu = (
            time.process_time()
        )  # that of their warm-ups too: no turn can tell its own from theirs
        with ThreadPoolExecutor(len(engines)) as pool:
            turns = list(pool.map(take_turn, engines, bare, [each] * len(engines)))
        frames = sum(turn.frames for turn in turns)
        fps = sum(turn.frames / turn.seconds for turn in turns)
        return fps, 1e3 * (time.process_time() - cpu) / frames

    def run_turn(runner: LocalRunner, pictures: Sequence[Sample]) -> Figures:
        start = cpu = 0.0
        done = -warm
        records = runner.run(_endless(pictures), work)
        for _ in records:  # the pipe is full before the clock starts, and stays so until it stops
            done += 1
            if done == 0:
                start, cpu = time.perf_counter(), time.process_time()
            if done == count:
                break
        passed, used = time.perf_counter() - start, time.process_time() - cpu
        records.close()
        return count / passed, 1e3 * used / count

    turns: dict[str, Callable[[], Figures]] = {
        "engine": engine_turn,
        # A runner each: what is read may want more threads than what is in memory.
        "decoded": partial(run_turn, LocalRunner(engines), decoded),
        "read": partial(run_turn, LocalRunner(engines), readable),
    }
    count = 8 * warm  # one round that is not counted, and tells how long a frame takes
    slowest = min(turn()[0] for turn in turns.values())
    count = max(8 * warm, round(slowest * seconds))
    names = list(turns)
    found: list[dict[str, Any]] = []
    clock = OthersClock()
    for number in range(rounds):
        first = number % len(names)
        figures = {name: turns[name]() for name in names[first:] + names[:first]}
        row = {f"{name}_fps": figures[name][0] for name in names}
        row |= {f"{name}_cpu_ms": figures[name][1] for name in names}
        found.append({**row, "others_share": clock.lap()})
    return {"frames_a_turn": count, **_summary(found), "rounds": found}


def _summary(rounds: Sequence[dict[str, Any]]) -> dict[str, float]:
    def median(of: Callable[[dict[str, Any]], float]) -> float:
        return statistics.median(of(row) for row in rounds)

    return {
        "engine_fps": median(lambda row: row["engine_fps"]),
        "decoded_fps": median(lambda row: row["decoded_fps"]),
        "read_fps": median(lambda row: row["read_fps"]),
        "efficiency": median(lambda row: row["decoded_fps"] / row["engine_fps"]),
        "read_efficiency": median(lambda row: row["read_fps"] / row["engine_fps"]),
        "cpu_efficiency": median(lambda row: row["engine_cpu_ms"] / row["decoded_cpu_ms"]),
    }


def _decoded(samples: Sequence[Sample], work: Work) -> tuple[list[Sample], list[PixelSample]]:
    """The first samples that can be read, and the same with their pixels in memory."""
    readable: list[Sample] = []
    decoded: list[PixelSample] = []
    for sample in samples:
        if len(decoded) == _PICTURES:
            break
        try:
            pixels = sample.read(work.truths)
        except SkippedError:
            continue
        readable.append(sample)
        decoded += [_in_memory(sample, *pixels)]
    if not decoded:
        raise InputError("nothing to measure with: none of the frames can be read")
    return readable, decoded


def _in_memory(sample: Sample, picture: Picture, mask: Mask | None) -> PixelSample:
    return PixelSample(
        sample.index, sample.name, sample.output, picture, mask,
        category=sample.category, calibration=sample.calibration,
    )  # fmt: skip


def _endless(samples: Sequence[Sample]) -> Iterator[Sample]:
    while True:
        yield from samples
