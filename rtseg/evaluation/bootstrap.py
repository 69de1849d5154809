"""How sure a median or a percentile is: bootstrap confidence intervals over rounds.

A measurement is made in rounds, and rounds are what varies: within one, frames follow each other on a
machine in one state. So whole rounds are drawn anew, with replacement, and the interval holds the
middle 95 % of what the drawn sets give (percentile bootstrap, Efron and Tibshirani 1993, chapter 13).
The draws are seeded: the same samples give the same interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
RESAMPLES = 2000
_SEED = 20200323

Interval = tuple[float, float]


def draws(rounds: int, *, stream: int = 0) -> NDArray[np.int64]:
    """Return (RESAMPLES, rounds) indices of rounds; another ``stream`` draws independently."""
    return np.random.default_rng((_SEED, stream)).integers(0, rounds, (RESAMPLES, rounds))


def middle(values: NDArray[np.float64]) -> Interval:
    """Return the ends of the middle 95 % of ``values``."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def medians(samples: Sequence[float], drawn: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the median of each drawn set, (RESAMPLES,)."""
    found: NDArray[np.float64] = np.median(np.asarray(samples, np.float64)[drawn], axis=1)
    return found


def median_interval(samples: Sequence[float]) -> Interval:
    """Return the confidence interval of the median of one value a round; one round has no width."""
    return middle(medians(samples, draws(len(samples))))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that ``share`` (0–100) per cent do not exceed, by nearest rank; NaN if none.

    It is one of the values. Nothing is left out as an outlier.
    """
    if not len(values):
        return math.nan
    ordered = sorted(values)
    return ordered[max(1, math.ceil(share / 100 * len(ordered))) - 1]


def percentile_intervals(
    rounds: Sequence[Sequence[float]], shares: Sequence[float]
) -> list[Interval]:
    """Return the confidence interval of each percentile of what all rounds hold together.

    ``rounds`` has a list of values for each round; ``shares`` are 0–100, as in :func:`percentile`.
    """
    values = np.concatenate([np.asarray(part, np.float64) for part in rounds])
    owner = np.repeat(np.arange(len(rounds)), [len(part) for part in rounds])
    order = np.argsort(values, kind="stable")
    values, owner = values[order], owner[order]
    found = np.empty((RESAMPLES, len(shares)))
    for i, drawn in enumerate(draws(len(rounds))):
        # A round that was drawn twice has each of its values twice.
        reached = np.cumsum(np.bincount(drawn, minlength=len(rounds))[owner])
        ranks = np.maximum(1, np.ceil(np.asarray(shares) / 100 * reached[-1]))
        found[i] = values[np.searchsorted(reached, ranks)]
    return [middle(column) for column in found.T]
