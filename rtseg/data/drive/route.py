"""Where the road goes: curves, hills and the kind of road at any distance along it."""

import math

import numpy as np
from numpy.typing import NDArray

from rtseg.data.drive.chance import chance, wave
from rtseg.data.drive.roads import KINDS, RoadKind

__all__ = ["Route"]

# Which kinds a seed may mix: a drive through a town, through the country, along a motorway ...
_REGIONS: tuple[tuple[int, ...], ...] = (
    (2, 3, 4, 2, 3),
    (2, 3, 4, 0),
    (0, 1, 4, 2),
    (0, 1, 0, 4),
    (5, 0, 5, 5),
    (4, 3, 2, 0, 1),
)


class Route:
    """An endless road: curvature and slope are sums of sines, so any place can be asked about."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.side = 1 if chance(seed, 1) < 0.5 else -1
        region = _REGIONS[int(chance(seed, 2) * len(_REGIONS))]
        self._region = region
        motor = 5 in region
        town = not motor and sum(KINDS[k].town for k in region) * 2 >= len(region)
        self.speed = (24.0 if motor else 10.5 if town else 16.5) * (0.85 + 0.3 * chance(seed, 3))
        self.section_length = self.speed * (9.0 + 4.0 * chance(seed, 4))
        bend = (1 / 420 if motor else 1 / 210 if town else 1 / 130) * (0.6 + 0.6 * chance(seed, 5))
        lengths = (620.0, 330.0, 190.0) if motor else (360.0, 210.0, 128.0)
        self._bends = [
            (
                bend * share,
                math.tau / (length * (0.85 + 0.3 * chance(seed, 6, i))),
                math.tau * chance(seed, 7, i),
            )
            for i, (share, length) in enumerate(zip((0.5, 0.7, 0.45), lengths, strict=True))
        ]
        slope = (0.016 if town else 0.034) * (0.5 + 0.9 * chance(seed, 8))
        self._slopes = [
            (
                slope * share,
                math.tau / (length * (0.85 + 0.3 * chance(seed, 9, i))),
                math.tau * chance(seed, 10, i),
            )
            for i, (share, length) in enumerate(((0.8, 520.0), (0.7, 260.0), (0.35, 137.0)))
        ]
        self._surge = (math.tau / (19.0 + 9.0 * chance(seed, 11)), math.tau * chance(seed, 12))

    def travelled(self, time: float) -> float:
        """Return how far along the road, in metres, the camera is at a time in seconds."""
        rate, phase = self._surge
        swell = 0.16 * (math.sin(rate * time + phase) - math.sin(phase)) / rate
        return 40.0 + self.speed * (time + swell)

    def heading(self, s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the road's heading in radians at distances along it."""
        total = np.zeros_like(s)
        for size, rate, phase in self._bends:
            total += size / rate * np.sin(rate * s + phase)
        return total

    def height(self, s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the road's height in metres at distances along it."""
        total = np.zeros_like(s)
        for size, rate, phase in self._slopes:
            total += size / rate * np.sin(rate * s + phase)
        return total

    def slope(self, s: float) -> float:
        """Return the road's slope (rise over run) at a distance along it."""
        return sum(size * math.cos(rate * s + phase) for size, rate, phase in self._slopes)

    def _border(self, index: int) -> float:
        return (index + 0.35 * chance(self.seed, 20, index)) * self.section_length

    def _kind_index(self, index: int) -> int:
        # Neighbouring sections are drawn without repetition, so that the scenery keeps changing.
        pick = int(chance(self.seed, 21, index) * 2) + 1
        return self._region[(index * 2 + pick + int(self.seed % 97)) % len(self._region)]

    def section(self, s: float) -> tuple[int, RoadKind, float, float]:
        """Return the section at a distance: its index, its kind, and where it starts and ends."""
        index = int(s // self.section_length)
        if s < self._border(index):
            index -= 1
        kind = KINDS[self._kind_index(index)]
        return index, kind, self._border(index), self._border(index + 1)

    def junctions(self, s: float) -> list[tuple[float, float]]:
        """Return where side roads of the section at a distance start and end, in order."""
        index, kind, start, end = self.section(s)
        length = 9.5
        if kind.motorway:
            return []
        before = KINDS[self._kind_index(index - 1)]
        found = []
        if not before.motorway and (before.town or kind.town):
            found.append((start, start + length))
        if kind.town and chance(self.seed, 22, index) < 0.6:
            middle = start + (end - start) * (0.4 + 0.3 * chance(self.seed, 23, index))
            found.append((middle, middle + length))
        return found

    def lateral(self, s: float, lane: int = 0) -> float:
        """Return the middle of a lane, signed by the driving side: 0 is the camera's own lane.

        Lanes 1, 2, ... come towards the camera; -1, -2, ... go its way (on a motorway only).
        """
        _, kind, start, end = self.section(s)
        here = _lane(kind, lane)
        ease = 45.0
        if end - s < ease:
            there = _lane(self.section(end + 1.0)[1], lane)
            part = 0.5 * (1 - (end - s) / ease)
        elif s - start < ease:
            there = _lane(self.section(start - 1.0)[1], lane)
            part = 0.5 * (1 - (s - start) / ease)
        else:
            return here * self.side
        part = 2 * part * part
        return (here * (1 - part) + there * part) * self.side

    def sway(self, time: float) -> float:
        """Return how far the camera strays from its lane's middle, in metres."""
        return 0.5 * (wave(self.seed, 30, time / 3.1) - 0.5)


def _lane(kind: RoadKind, lane: int) -> float:
    if lane == 0:
        return kind.ego
    if lane > 0:
        return kind.oncoming[min(lane, len(kind.oncoming)) - 1]
    return kind.overtaken[min(-lane, len(kind.overtaken)) - 1] if kind.overtaken else kind.ego
