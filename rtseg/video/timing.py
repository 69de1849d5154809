"""Where the time of live frames goes: percentiles in a fixed amount of memory, and honest FPS."""

from __future__ import annotations

import math

import numpy as np

_RATIO = math.log(1.01)
_FIRST = 1_000  # nanoseconds: shorter times share the first bucket
_BUCKETS = 2_100  # reaches 1,190 s


class Durations:
    """Nanosecond durations in buckets 1 % wide, from 1 µs to 20 minutes; the maximum is exact.

    Memory does not grow with the number of frames, so a camera can run for weeks and still tell the
    percentiles of all of it, within 1 %.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(_BUCKETS, np.int64)
        self.total = 0
        self.longest = 0
        self.count = 0

    def add(self, nanoseconds: int) -> None:
        """Count one duration."""
        bucket = int(math.log(nanoseconds / _FIRST) / _RATIO) + 1 if nanoseconds > _FIRST else 0
        self.counts[min(bucket, _BUCKETS - 1)] += 1
        self.total += nanoseconds
        self.longest = max(self.longest, nanoseconds)
        self.count += 1

    def percentile(self, share: float) -> float:
        """The duration, in milliseconds, that ``share`` (0–100) per cent do not exceed; NaN if none.

        Nearest rank, as the middle of its bucket and never above the maximum.
        """
        if not self.count:
            return math.nan
        rank = max(1, math.ceil(share / 100 * self.count))
        bucket = int(np.searchsorted(np.cumsum(self.counts), rank))
        middle = _FIRST * math.exp((bucket - 0.5) * _RATIO)
        return min(middle, self.longest) / 1e6

    def summary(self) -> dict[str, float]:
        """Count, mean, p50, p95, p99 and max; times in milliseconds."""
        if not self.count:
            return {"count": 0}
        return {
            "count": self.count,
            "mean_ms": round(self.total / self.count / 1e6, 4),
            "p50_ms": round(self.percentile(50), 4),
            "p95_ms": round(self.percentile(95), 4),
            "p99_ms": round(self.percentile(99), 4),
            "max_ms": round(self.longest / 1e6, 4),
        }


class Rate:
    """Events a second: (n - 1) / (last time - first time), so that start-up is left out."""

    def __init__(self) -> None:
        self.count = 0
        self._first = 0
        self._last = 0

    def tick(self, at: int) -> None:
        """Count an event at a time, nanoseconds."""
        if not self.count:
            self._first = at
        self._last = at
        self.count += 1

    def leave_out(self, nanoseconds: int) -> None:
        """Do not count the last so many nanoseconds: the user had paused."""
        self._first += nanoseconds
        self._last += nanoseconds

    @property
    def seconds(self) -> float:
        """Time between the first and the last event."""
        return (self._last - self._first) / 1e9

    @property
    def per_second(self) -> float:
        """The rate; NaN until there are two events."""
        return (self.count - 1) / self.seconds if self.count > 1 and self.seconds else math.nan
