"""Seeded chance that can be asked about any place or moment, in any order."""

from functools import lru_cache

import numpy as np

__all__ = ["chance", "generator", "wave"]

_MASK = (1 << 64) - 1


def _mix(seed: int, keys: tuple[int, ...]) -> int:
    # SplitMix64's finaliser over each key in turn: integer only, so the same on every machine.
    state = seed & _MASK
    for key in keys:
        state = (state + (key & _MASK) + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state


@lru_cache(8192)
def chance(seed: int, *keys: int) -> float:
    """Return a number in [0, 1) that depends on nothing but the seed and the keys."""
    return (_mix(seed, keys) >> 11) * 2.0**-53


def generator(seed: int, *keys: int) -> np.random.Generator:
    """Return a generator whose numbers depend on nothing but the seed and the keys."""
    return np.random.Generator(np.random.Philox(key=_mix(seed, keys)))


def wave(seed: int, key: int, position: float) -> float:
    """Return smooth noise in [0, 1]: a chance at every whole position, eased between them."""
    low = int(position // 1)
    part = position - low
    part = part * part * (3.0 - 2.0 * part)
    return chance(seed, key, low) * (1.0 - part) + chance(seed, key, low + 1) * part
