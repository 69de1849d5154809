"""What stands where along the road: decided chunk by chunk, in any order."""

from collections import OrderedDict

import numpy as np

from rtseg.data.drive.chance import chance, generator
from rtseg.data.drive.items import Item, Stretch
from rtseg.data.drive.roads import RoadKind
from rtseg.data.drive.route import Route

__all__ = ["Scenery"]

_CHUNK = 32.0
_KEPT = 48


class Scenery:
    """The items of every chunk of the road; the latest few chunks are kept."""

    def __init__(self, seed: int, route: Route) -> None:
        self._seed, self._route = seed, route
        self._chunks: OrderedDict[int, tuple[Item, ...]] = OrderedDict()
        self._stretch: tuple[int, int, Stretch] | None = None
        self._green = 0.5 + chance(seed, 150)
        self._busy = 0.4 + 0.9 * chance(seed, 151)

    def stretch(self, low: float, high: float) -> Stretch:
        """Return the items whose place is between two distances, or a little beyond them."""
        first, last = int(low // _CHUNK), int(high // _CHUNK)
        if self._stretch is None or self._stretch[:2] != (first, last):
            items = [item for index in range(first, last + 1) for item in self._chunk(index)]
            self._stretch = first, last, Stretch(items)
        return self._stretch[2]

    def _chunk(self, index: int) -> tuple[Item, ...]:
        if index in self._chunks:
            self._chunks.move_to_end(index)
            return self._chunks[index]
        items = tuple(self._fill(index))
        self._chunks[index] = items
        if len(self._chunks) > _KEPT:
            self._chunks.popitem(last=False)
        return items

    def _fill(self, index: int) -> list[Item]:
        rng = generator(self._seed, 152, index)
        start = index * _CHUNK
        items: list[Item] = []
        for side in (-1, 1):
            # A stretch ends where the kind of road does, so that nothing stands on the next one.
            s = start
            while s < start + _CHUNK - 0.1:
                number, kind, _, end = self._route.section(s + 0.01)
                stop = min(end, start + _CHUNK)
                self._side(items, rng, kind, number, side, s, stop)
                s = stop
        clear = [gap for at in (start, start + _CHUNK) for gap in self._route.junctions(at)]
        return [
            item
            for item in items
            if item.name == "gantry"
            or not any(item.s < high + 2.0 and item.end > low - 2.0 for low, high in clear)
        ]

    def _side(
        self,
        items: list[Item],
        rng: np.random.Generator,
        kind: RoadKind,
        number: int,
        side: int,
        low: float,
        high: float,
    ) -> None:
        if kind.motorway:
            self._motorway(items, rng, number, side, low, high)
        elif kind.town:
            self._town(items, rng, kind, number, side, low, high)
        else:
            self._country(items, rng, kind, number, side, low, high)

    def _key(self, rng: np.random.Generator) -> int:
        return int(rng.integers(1 << 30))

    def _along(
        self, items: list[Item], name: str, u: float, low: float, high: float, size: float
    ) -> None:
        step = 8.0
        items.extend(
            Item(name, float(s), u, min(float(s) + step, high), size, int(s))
            for s in np.arange(low, high - 0.5, step)
        )

    def _scatter(
        self,
        items: list[Item],
        rng: np.random.Generator,
        name: str,
        count: float,
        near: float,
        far: float,
        span: tuple[float, float],
        sizes: tuple[float, float],
    ) -> None:
        for _ in range(rng.poisson(count * (span[1] - span[0]) / _CHUNK)):
            s = float(rng.uniform(*span))
            u = near + (far - near) * float(rng.random()) ** 1.7
            size = float(rng.uniform(*sizes))
            items.append(Item(name, s, u, s, size, self._key(rng)))

    def _posts(
        self,
        items: list[Item],
        name: str,
        every: float,
        u: float,
        low: float,
        high: float,
        size: float,
    ) -> None:
        first = np.ceil(low / every) * every
        items.extend(
            Item(name, float(s), u, float(s), size, int(s) % 3)
            for s in np.arange(first, high, every)
        )

    def _country(
        self,
        items: list[Item],
        rng: np.random.Generator,
        kind: RoadKind,
        number: int,
        side: int,
        low: float,
        high: float,
    ) -> None:
        edge = kind.half + 1.1
        span = (low, high)
        border = chance(self._seed, 153, number, side)
        if border < 0.4:
            self._along(items, "hedge", side * (edge + 1.2), low, high, 1.1 + 1.4 * border)
        elif border < 0.6:
            self._along(items, "fence", side * (edge + 1.5), low, high, 1.15)
        elif border < 0.7:
            self._along(items, "rail", side * (edge + 0.2), low, high, 0.8)
        elif border < 0.78:
            self._along(items, "wall", side * (edge + 1.0), low, high, 1.2)
        wooded = chance(self._seed, 154, number, side) ** 1.5 * 7 * self._green
        if border > 0.4:
            self._scatter(items, rng, "bush", 2.0, side * (edge + 1.6), side * 16, span, (1.0, 2.4))
        self._scatter(
            items, rng, "tree", 1.2 + wooded, side * (edge + 3.4), side * 34, span, (6.0, 13.0)
        )
        if side * self._route.side > 0 and chance(self._seed, 155, number) < 0.6:
            self._posts(items, "pole", 38.0, side * (edge + 2.6), low, high, 8.0)
        self._scatter(
            items, rng, "sign", 0.3, side * (edge + 0.5), side * (edge + 0.9), span, (1.0, 1.0)
        )
        if rng.random() < 0.12 and high - low > 20:
            s = float(rng.uniform(low, high - 14))
            u = side * float(rng.uniform(14, 22))
            items.append(Item("house", s, u, s + 11, 5.6, self._key(rng)))
        if side * self._route.side > 0 and rng.random() < 0.1:
            self._cyclist(items, rng, kind, low)

    def _cyclist(
        self, items: list[Item], rng: np.random.Generator, kind: RoadKind, s: float
    ) -> None:
        edge = kind.parking - 1.5 if kind.parking else kind.half - 0.6
        # Clear of the cars that go by in the lane, however they sway.
        u = self._route.side * max(edge, abs(self._route.lateral(s)) + 1.5)
        items.append(Item("cyclist", s, u, s, 1.0, self._key(rng), 4.6))

    def _town(
        self,
        items: list[Item],
        rng: np.random.Generator,
        kind: RoadKind,
        number: int,
        side: int,
        low: float,
        high: float,
    ) -> None:
        span = (low, high)
        outer = max(strip.right for strip in kind.strips)
        kerb = kind.half + 0.16
        self._posts(items, "lamp", 32.0, side * (kerb + 0.5), low + 6 * side, high, 7.2)
        built = chance(self._seed, 156, number, side)
        back = side * (max(kind.frontage, outer + 0.1) + 3.0 * (built > 0.6) * (kind.half > 4))
        if built > 0.16 or kind.half > 4:
            s = low
            while s < high - 5.0:
                wide = min(float(rng.uniform(6.5, 12.5)), high - s)
                gap = float(rng.choice([0.0, 0.0, 2.5, 5.0]))
                if wide > 5.0 and rng.random() < 0.88:
                    storeys = 2 + (rng.random() < 0.35) * (kind.frontage < 12)
                    items.append(Item("house", s, back, s + wide, 2.9 * storeys, self._key(rng)))
                s += wide + gap
        else:  # a park
            self._along(items, "hedge", side * (outer + 0.6), low, high, 1.0)
            self._scatter(items, rng, "tree", 5.0, side * (outer + 4), side * 30, span, (7, 13))
        if kind.frontage - outer > 2.0 and built > 0.16:
            border = "hedge" if built < 0.5 else "wall" if built < 0.75 else "fence"
            size = 1.1 if border != "wall" else 0.8
            self._along(items, border, side * (outer + 0.3), low, high, size)
            self._scatter(
                items,
                rng,
                "tree",
                0.8 * self._green,
                side * (outer + 1.8),
                side * (kind.frontage - 1),
                span,
                (4, 7),
            )
            self._scatter(
                items,
                rng,
                "bush",
                1.2,
                side * (outer + 1),
                side * (kind.frontage - 1),
                span,
                (0.9, 1.8),
            )
        if chance(self._seed, 157, number) < 0.5 * self._green:
            self._posts(items, "tree", 14.0, side * (kerb + 0.8), low + 5, high, 6.4)
        kerbed = False
        if kind.parking:
            s = low + float(rng.uniform(0, 3))
            while s < high - 6:
                if rng.random() < 0.6:
                    key = self._key(rng)
                    items.append(Item("parked", s, side * kind.parking, s + 4.6, 1.0, key))
                s += 6.0
        elif kerbed := rng.random() < 0.18 * self._busy:
            s = float(rng.uniform(low, max(low, high - 6)))
            items.append(Item("parked", s, side * (kind.half + 0.5), s + 4.6, 1.0, self._key(rng)))
        self._scatter(
            items, rng, "sign", 0.45, side * (kerb + 0.4), side * (kerb + 0.7), span, (1.0, 1.0)
        )
        for _ in range(rng.poisson(1.1 * self._busy * (high - low) / _CHUNK)):
            s = float(rng.uniform(low, high))
            u = side * float(rng.uniform(outer - 1.7, outer - 0.4))
            speed = float(rng.choice([-1.25, 1.25, 1.4, -1.1, 0.0]))
            items.append(Item("walker", s, u, s, 1.0, self._key(rng), speed))
        if side * self._route.side > 0 and rng.random() < 0.12 * self._busy and not kerbed:
            # Nobody cycles where a car stands half on the road.
            self._cyclist(items, rng, kind, low)

    def _motorway(
        self,
        items: list[Item],
        rng: np.random.Generator,
        number: int,
        side: int,
        low: float,
        high: float,
    ) -> None:
        span = (low, high)
        drive = self._route.side
        if side == drive:
            self._along(items, "rail", side * 9.7, low, high, 0.8)
            self._scatter(
                items, rng, "tree", 4.0 * self._green, side * 15, side * 40, span, (6, 13)
            )
            self._scatter(items, rng, "bush", 3.0, side * 11.5, side * 18, span, (1.2, 2.6))
            self._scatter(items, rng, "sign", 0.2, side * 10.4, side * 11, span, (1.0, 1.0))
        else:
            self._along(items, "rail", side * 8.3, low, high, 0.8)
            self._along(items, "rail", side * 22.3, low, high, 0.8)
            self._scatter(
                items, rng, "tree", 4.0 * self._green, side * 27, side * 55, span, (6, 13)
            )
            if chance(self._seed, 158, number) < 0.6:
                self._posts(items, "lamp", 40.0, side * 8.7, low, high, 10.0)
            if rng.random() < 0.05:
                s = float(rng.uniform(low, high))
                items.append(Item("gantry", s, side * 8.0, s, 10.0 * drive, self._key(rng)))
