"""A histogram of durations that clips nothing: bins of equal ratio, as many as there are."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

BINS_PER_DECADE = 50
"""A bin is 4.7 % wide."""

_LEAST = 1e-6


def histogram(values: Iterable[float]) -> list[list[int]]:
    """Count ``values`` (milliseconds) by bin: [[bin, count], …], bins in order, empty ones left out.

    Bin k holds what is at least :func:`edge` (k) and below :func:`edge` (k + 1). There is no first and
    no last bin, so that the worst frame is in it wherever it lies. Below a nanosecond counts as one.
    """
    counts = Counter(
        math.floor(math.log10(max(value, _LEAST)) * BINS_PER_DECADE) for value in values
    )
    return [[k, counts[k]] for k in sorted(counts)]


def edge(k: int) -> float:
    """Return the lower edge of bin ``k``, milliseconds: 10 ** (k / 50)."""
    return float(10 ** (k / BINS_PER_DECADE))
