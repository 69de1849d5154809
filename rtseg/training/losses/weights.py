"""Weights of classes, from how frequent the classes are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median


def _checked(frequencies: Sequence[float]) -> list[float]:
    values = [float(f) for f in frequencies]
    if not all(0 <= f <= 1 for f in values) or not any(values):
        raise ValueError(f"the classes' frequencies are shares of 0 to 1, not all 0: {values}")
    return values


def median_frequency_weights(frequencies: Sequence[float]) -> list[float]:
    """Weigh a class by median / frequency (Eigen & Fergus 2015).

    ``frequencies`` are the classes' shares of all pixels of the training set, while the paper takes
    the share within the pictures that hold the class: rare classes weigh more here. The median is
    that of the classes that occur; a class that never occurs gets 0. ``ValueError`` for numbers
    that are no shares.
    """
    values = _checked(frequencies)
    middle = median(f for f in values if f)
    return [middle / f if f else 0.0 for f in values]


def enet_weights(frequencies: Sequence[float]) -> list[float]:
    """Weigh a class by 1 / ln(1.02 + frequency), from 1.4 to 50.5 (Paszke et al. 2016, ENet).

    ``frequencies`` are the classes' shares of all pixels of the training set. A class that never
    occurs gets 50.5. ``ValueError`` for numbers that are no shares.
    """
    return [1 / math.log(1.02 + f) for f in _checked(frequencies)]
