"""The things that stand along the road, one by one and as the arrays to look for them in."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["NEAR", "REACH", "Item", "Stretch"]

NEAR = 0.9
"""Nothing that stands still is drawn nearer than this, in metres; parked cars aside."""

REACH = {
    "tree": 180.0,
    "bush": 110.0,
    "house": 220.0,
    "lamp": 150.0,
    "pole": 150.0,
    "sign": 110.0,
    "hedge": 110.0,
    "fence": 100.0,
    "wall": 100.0,
    "rail": 130.0,
    "gantry": 260.0,
    "parked": 120.0,
    "walker": 90.0,
    "cyclist": 110.0,
}
"""How far away a thing of each name comes into sight, in metres."""

# How far a thing may reach to either side of its place, in metres; 0.6 of its size for a tree.
_WIDTHS = {"house": 10.5, "lamp": 2.4, "hedge": 1.2, "gantry": 1e6, "parked": 1e6}


@dataclass(frozen=True)
class Item:
    """Something beside the road: `s` along it, `u` across it, `end` where it ends, in metres.

    `speed` is how fast it walks or cycles along the road, in metres a second.
    """

    name: str
    s: float
    u: float
    end: float
    size: float
    key: int
    speed: float = 0.0


class Stretch:
    """The items of a stretch of road, with their numbers side by side."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = items
        rows = [
            (i.s, i.end, i.u, i.speed, i.size, REACH[i.name], _width(i), _least(i)) for i in items
        ]
        columns: NDArray[np.float64] = np.array(rows, np.float64).reshape(-1, 8).T
        self.s, self.end, self.u, self.speed = columns[:4]
        self.size, self.reach, self.width, self.least = columns[4:]
        self.moving = np.flatnonzero(self.speed)
        self.long = self.end > self.s
        names = [i.name for i in items]
        self.trees = np.array([name == "tree" for name in names], bool)
        self.posts = np.array([name in ("lamp", "pole") for name in names], bool)
        self.houses = np.array([name == "house" for name in names], bool)


def _least(item: Item) -> float:
    return -3.0 if item.name == "parked" else NEAR


def _width(item: Item) -> float:
    if item.name in ("tree", "bush"):
        return 0.2 + (0.6 if item.name == "tree" else 0.9) * item.size
    return _WIDTHS.get(item.name, 1.0)
