"""The live loop in real time, and its efficiency, for one network of ``rtseg-bench live``."""

from __future__ import annotations

import logging
import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rtseg.cli.bench_live_sources import AsCamera, Log, Reel, Screen
from rtseg.data.labels import ClassTable
from rtseg.engine import Engine
from rtseg.evaluation.machine import OthersClock
from rtseg.evaluation.speed import fill, take_turn
from rtseg.evaluation.streaming import Schedule, StreamingMiou, score
from rtseg.video.controls import Controls
from rtseg.video.overlay import Painter
from rtseg.video.pipeline import LiveLoop
from rtseg.video.sources import Source
from rtseg.video.timing import Durations
from rtseg.video.window import Window

_TURN_S = 1.0
_WARM_UP = 5
_EVERY_NS = 1_000_000


def make_loop(
    engine: Engine, source: Source, window: Window, log: Log | None = None, limit: int | None = None
) -> LiveLoop:
    """Set the loop up as ``rtseg-live`` does with a window."""
    spec = engine.spec
    return LiveLoop(
        engine,
        source,
        Painter(spec.classes, spec.palette),
        sinks=[] if log is None else [log],
        controls=Controls(window, folder=Path.cwd(), fps=source.fps),
        limit=limit,
        loop=not source.live,
        on_frame=None if log is None else log.shown,
    )


def warm_up(engine: Engine, make_source: Callable[[], Source] | None) -> None:
    """Take a few frames through the loop, or of a camera's through the engine, that do not count."""
    if make_source is not None:
        make_loop(engine, make_source(), Screen(), limit=_WARM_UP).run()
        return
    spec = engine.spec
    engine.infer(np.zeros((_WARM_UP, spec.height, spec.width, 3), np.uint8))


def ages(captured: Sequence[int], shown: Sequence[int]) -> dict[str, dict[str, float]]:
    """Tell how old frames are when they come on the screen, and while they are there.

    ``captured`` and ``shown`` are nanoseconds, of each frame that was shown. ``at_display`` has one
    age a frame: from its capture to its mask's being on the screen. ``on_screen`` looks at the
    screen every millisecond, from the first frame to the last: there a frame ages until the next
    one comes.
    """
    at_display, on_screen = Durations(), Durations()
    for came, at in zip(captured, shown, strict=True):
        at_display.add(at - came)
    if len(shown) > 1:
        moments = np.arange(shown[0], shown[-1], _EVERY_NS)
        which = np.searchsorted(np.asarray(shown), moments, "right") - 1
        for age in (moments - np.asarray(captured)[which]).tolist():
            on_screen.add(age)
    return {"at_display": at_display.summary(), "on_screen": on_screen.summary()}


def _rate(times: Sequence[int]) -> float | None:
    """(n - 1) / Δt of times in nanoseconds; None for fewer than two."""
    if len(times) < 2 or times[-1] <= times[0]:
        return None
    return round((len(times) - 1) * 1e9 / (times[-1] - times[0]), 3)


def _streamed(engine: Engine, reel: Reel, run: Schedule, log: Log) -> dict[str, Any] | None:
    """Streaming mIoU of the run as it was; None where the drive does not know the classes."""
    spec = engine.spec
    classes = ClassTable(spec.classes, spec.palette)
    table = reel.truth_table(classes)
    if table is None:
        return None
    masks = dict(zip(log.indices, log.masks, strict=True))
    truths = [table[reel.masks[reel.place(index)]] for index in range(len(run.arrivals))]
    found = StreamingMiou(len(spec.classes))
    own = np.arange(256, dtype=np.uint8)
    score(run, masks, truths, found, own)
    named = zip(spec.classes, found.iou.tolist(), strict=True)
    return {
        "miou": None if math.isnan(found.miou) else round(found.miou, 4),
        "iou": {name: None if math.isnan(value) else round(value, 4) for name, value in named},
        "frames": found.frames,
        "unserved": found.unserved,
    }


def run_paced(
    engine: Engine,
    source: AsCamera,
    window: Window,
    reel: Reel | None,
) -> dict[str, Any]:
    """Run the loop in real time; returns what it measured, as plain JSON values.

    Ctrl-C ends the run; what was measured until then is returned, with ``interrupted``.
    """
    log = Log(masks=reel is not None)
    loop = make_loop(engine, source, window, log)
    others = OthersClock()
    try:
        loop.run()
    except KeyboardInterrupt:
        loop.report.interrupted = True
    share = others.lap()
    for line in loop.take_notes():
        logging.getLogger("rtseg").warning("%s", line)
    values = loop.report.as_dict()
    stages = values["stages"]
    stages.pop("write", None)  # the log's own
    shown = log.at[: len(log.indices)]
    run = Schedule(tuple(source.arrived), tuple(log.indices), tuple(shown))
    return {
        "frames_arrived": len(source.arrived),
        "arrived_fps": _rate(source.arrived),
        "processed": values["frames"],
        "processed_fps": values["processed_fps"],
        "displayed_fps": values["displayed_fps"],
        "dropped": values["dropped"],
        "interrupted": values["interrupted"],
        "failures": source.failures,
        "age": ages(log.captured, shown),
        "stages": stages,
        "streaming": None if reel is None else _streamed(engine, reel, run, log),
        "others_share": None if math.isnan(share) else round(share, 4),
    }


def efficiency(
    engine: Engine,
    pictures: Sequence[Any],
    make_source: Callable[[], Source],
    rounds: int,
) -> dict[str, Any]:
    """Compare the loop as fast as it can with the engine alone, in turns, A B then B A.

    The engine alone takes ``pictures`` that lie shrunk in memory. Both have as many frames in flight
    as the engine takes. The ratio is that of the medians.
    """
    frames = fill(engine, pictures, min(len(pictures), 32))
    first = take_turn(engine, frames, 4)  # a warm-up, which tells how long a turn may be
    count = max(8, min(600, round(_TURN_S * first.frames / first.seconds)))

    def bare() -> float:
        turn = take_turn(engine, frames, count)
        return turn.frames / turn.seconds

    def loop() -> float:
        return make_loop(engine, make_source(), Screen(), limit=count).run().processed.per_second

    turns = {"bare": bare, "loop": loop}
    loop()
    samples: dict[str, list[float]] = {name: [] for name in turns}
    for number in range(rounds):
        order = list(turns) if number % 2 == 0 else list(turns)[::-1]
        for name in order:
            samples[name].append(turns[name]())
    medians = {name: statistics.median(values) for name, values in samples.items()}
    return {
        "ratio": round(medians["loop"] / medians["bare"], 4),
        "loop_fps": round(medians["loop"], 3),
        "bare_fps": round(medians["bare"], 3),
        "frames_in_flight": engine.depth,
        "frames_a_turn": count,
        "rounds": {name: [round(v, 3) for v in values] for name, values in samples.items()},
    }
