"""The engines that ``rtseg-bench choose`` compares, measured in turns on the same frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtseg.data.labels import CAMVID11, ROAD, VOID, ClassTable, covers, merge_table
from rtseg.engine import Engine
from rtseg.errors import UsageError
from rtseg.evaluation.consistency import OpticalFlow, TemporalConsistency
from rtseg.evaluation.masked_video import MaskedVideo, step_of
from rtseg.evaluation.streaming import (
    FrameTime,
    FrameTimer,
    Schedule,
    StreamingMiou,
    schedule,
    score,
    stretch,
)
from rtseg.spec import Spec

Picture = NDArray[np.uint8]
Mask = NDArray[np.uint8]

LEAD_S = 0.5
"""The start of each video that is streamed but not scored, so that a short run is as a long one."""
_TURN = 12  # frames
_WARM_UP = 2  # frames before each turn that do not count: the turn before has emptied the caches


def own_classes(spec: Spec) -> ClassTable:
    """A network's classes as a class table."""
    return ClassTable(spec.classes, spec.palette)


def common_classes(specs: Sequence[Spec]) -> ClassTable:
    """Return the classes that all networks can be scored on.

    CamVid's eleven where all have them, else background and road where all have road, else what
    all have, if that is the same. ``UsageError`` names the one that does not fit.
    """
    for table in (CAMVID11, ROAD):
        if all(covers(own_classes(spec), table) for spec in specs):
            return table
    first = specs[0]
    if all(spec.classes == first.classes for spec in specs):
        return own_classes(first)
    odd = next(spec for spec in specs if not covers(own_classes(spec), ROAD))
    raise UsageError(
        f"{odd.name}: it has no class road, so it cannot be compared with the others: leave it out"
    )


@dataclass
class Streamed:
    """What came of streaming at one frame rate, over all videos."""

    miou: StreamingMiou
    by_video: list[float] = field(default_factory=list)
    dropped: int = 0
    gaps: list[int] = field(default_factory=list)
    """Between masks that are finished one after the other, nanoseconds."""
    ages: list[int] = field(default_factory=list)
    """Of the mask that is there at each frame's arrival: frames between the two."""

    def add_run(self, run: Schedule, first: int) -> None:
        """Count a video's run, scored from frame ``first`` on."""
        self.dropped += run.dropped
        self.gaps += [later - one for one, later in pairwise(run.finished)]
        shown = run.newest()
        self.ages += [i - k for i, k in enumerate(shown) if k is not None and i >= first]


class Candidate:
    """An engine with all that is measured of it."""

    def __init__(self, engine: Engine, classes: ClassTable, rates: Sequence[float]) -> None:
        self.engine = engine
        self.spec = engine.spec
        count = len(classes.names)
        self.table = merge_table(own_classes(engine.spec), classes, None)
        self.table[self.table == VOID] = count  # of none of them: nothing
        self.offline = StreamingMiou(count)
        self.streamed = {fps: Streamed(StreamingMiou(count)) for fps in rates}
        self.tc = TemporalConsistency(count + 1)
        self.times: list[FrameTime] = []
        self.video_times: list[FrameTime] = []
        self.video_masks: list[Mask] = []

    @property
    def name(self) -> str:
        """Network, size, backend and precision."""
        spec, engine = self.spec, self.engine
        return f"{spec.name} {spec.width}x{spec.height} ({engine.backend} {engine.precision})"

    def latency_ms(self, share: float) -> float:
        """The time from picture to full-size mask that ``share`` per cent do not exceed."""
        totals = [time.total for time in self.times]
        return float(np.percentile(totals, share, method="inverted_cdf")) / 1e6

    def score_video(self, video: MaskedVideo) -> None:
        """Score the masks of the video just measured, offline and at every frame rate.

        Its times count from here on.
        """
        self.times += self.video_times
        height, width = video.truths[0].shape
        lead = math.ceil(LEAD_S * video.fps)
        first = lead if lead < len(video.pictures) else 0
        for index in range(first, len(video.pictures)):
            mask = self.table[stretch(self.video_masks[index], width, height)]
            self.offline.add(video.truths[index], mask)
        for fps, streamed in self.streamed.items():
            step = step_of(video.fps, fps)
            run = schedule(self.video_times[::step], fps, depth=self.engine.depth)
            begin = -(-first // step)
            own = StreamingMiou(len(streamed.miou.matrix.matrix) - 1)
            masks, truths = self.video_masks[::step], video.truths[::step]
            score(run, masks, truths, own, self.table, first=begin)
            streamed.miou.merge(own)
            streamed.by_video.append(own.miou)
            streamed.add_run(run, begin)

    def as_dict(self, classes: ClassTable) -> dict[str, Any]:
        """Plain JSON values; what there is not is null."""
        engine, spec = self.engine, self.spec

        def scores(found: StreamingMiou) -> dict[str, Any]:
            named = zip(classes.names, found.iou, strict=True)
            return {
                "miou": number(found.miou),
                "iou": {name: number(value) for name, value in named},
                "frames": found.frames,
            }

        return {
            "network": spec.name,
            "backend": engine.backend,
            "precision": engine.precision,
            "device": engine.device,
            "size": [spec.width, spec.height],
            "frames_in_flight": engine.depth,
            "versions": engine.versions,
            "latency_ms": {
                "count": len(self.times),
                **{f"p{share}": number(self.latency_ms(share), 4) for share in (50, 95, 99)},
                "max": number(self.latency_ms(100), 4),
            },
            "offline": scores(self.offline),
            "streaming": {
                f"{fps:g}": {
                    **scores(streamed.miou),
                    "unserved": streamed.miou.unserved,
                    "by_video": [number(value) for value in streamed.by_video],
                    "masks_per_second": number(1e9 / (_mean(streamed.gaps) or math.nan), 3),
                    "dropped": streamed.dropped,
                    "mean_age_frames": number(_mean(streamed.ages), 3),
                }
                for fps, streamed in self.streamed.items()
            },
            "temporal_consistency": {
                "tc": number(self.tc.tc),
                "pairs": self.tc.pairs,
                "pixels_compared": number(self.tc.compared),
            },
            "frame_times_us": [[round(part / 1e3, 1) for part in time] for time in self.times],
        }


def _mean(values: Sequence[int]) -> float:
    return float(np.mean(values)) if values else math.nan


def number(value: float, digits: int = 4) -> float | None:
    """Round for JSON; NaN is null."""
    return None if math.isnan(value) else round(float(value), digits)


def take_turns(candidates: Sequence[Candidate], pictures: Sequence[Picture]) -> None:
    """Take all pictures through every engine, in turns of a dozen; into ``video_times`` and masks.

    Turns, not blocks, since a machine that slows down for a minute must not decide who is faster.
    """
    height, width = pictures[0].shape[:2]
    timers = [FrameTimer(c.engine, width, height) for c in candidates]
    for candidate in candidates:
        candidate.video_times, candidate.video_masks = [], []
    order = list(range(len(candidates)))
    for number_of_turn, start in enumerate(range(0, len(pictures), _TURN)):
        first = number_of_turn % len(order)
        for at in order[first:] + order[:first]:
            candidate, timer = candidates[at], timers[at]
            for index in range(start - _WARM_UP, start):
                timer.take(pictures[max(0, index)])
            for picture in pictures[start : start + _TURN]:
                times, mask = timer.take(picture)
                candidate.video_times.append(times)
                candidate.video_masks.append(mask)


def compare_neighbours(candidates: Sequence[Candidate], pictures: Sequence[Picture]) -> None:
    """Add the temporal consistency of the masks of these pictures, which were measured last."""
    flow = OpticalFlow()
    for at, (before, after) in enumerate(pairwise(pictures)):
        motion = flow.motion(before, after)
        for c in candidates:
            c.tc.add(motion, c.table[c.video_masks[at]], c.table[c.video_masks[at + 1]])
