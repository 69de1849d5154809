"""Who else is driving: vehicles whose place is a function of the time alone."""

import math
from collections import OrderedDict
from dataclasses import dataclass

from rtseg.data.drive.chance import chance
from rtseg.data.drive.route import Route
from rtseg.data.drive.vehicles import Vehicle

__all__ = ["Driver", "Traffic"]

_KEPT = 64
_SIGHT = 240.0


@dataclass(frozen=True)
class Driver:
    """A vehicle on the road: its nearest end is `s` metres along and `u` metres across."""

    vehicle: Vehicle
    s: float
    u: float
    oncoming: bool
    brake: bool


class Traffic:
    """The traffic of one drive. Vehicles are built when first met, and a few are kept."""

    def __init__(self, seed: int, route: Route) -> None:
        self._seed, self._route = seed, route
        self._vehicles: OrderedDict[tuple[int, bool], Vehicle] = OrderedDict()
        self._gap = 34.0 + 90.0 * chance(seed, 160)
        self._pace = 26.0 + 16.0 * chance(seed, 161)
        self._lead_near = 7.5 + 0.45 * route.speed

    def vehicle(self, key: int, *, lorries: bool = False) -> Vehicle:
        """Return the vehicle of a key."""
        name = (key, lorries)
        if name not in self._vehicles:
            self._vehicles[name] = Vehicle(key, lorries=lorries)
            if len(self._vehicles) > _KEPT:
                self._vehicles.popitem(last=False)
        self._vehicles.move_to_end(name)
        return self._vehicles[name]

    def drivers(self, time: float, here: float) -> list[Driver]:
        """Return everyone in sight at a time, when the camera is `here` along the road."""
        return [*self._ahead(time, here), *self._oncoming(time, here), *self._beside(time, here)]

    def _ahead(self, time: float, here: float) -> list[Driver]:
        at = time / self._pace + chance(self._seed, 162)
        index, part = int(at), at % 1.0
        if chance(self._seed, 163, index) < 0.2:
            return []
        # It is out of sight when one vehicle gives way to the next: nobody sees the change.
        swell = 0.5 + 0.5 * math.cos(math.tau * part)
        least = self._lead_near + 14.0 * chance(self._seed, 164, index)
        gap = least + (_SIGHT + 60.0) * swell**2.2
        key = int(chance(self._seed, 165, index) * (1 << 30))
        s = here + gap
        lorries = self._route.section(s)[1].motorway
        u = self._route.lateral(s) + 0.25 * math.sin(time * 0.7 + index)
        vehicle = self.vehicle(key, lorries=lorries)
        return [Driver(vehicle, s, u, False, 0.30 < part < 0.5 and gap < 70.0)]

    def _oncoming(self, time: float, here: float) -> list[Driver]:
        found = []
        for lane in (1, 2):
            speed = self._route.speed * (0.95 if lane == 1 else 1.1)
            gap = self._gap * (1.0 if lane == 1 else 1.4)
            shift = speed * time
            first = math.floor((here - 30.0 + shift) / gap)
            last = math.ceil((here + _SIGHT + shift) / gap)
            for k in range(first, last + 1):
                if chance(self._seed, 166, k, lane) < 0.3:
                    continue
                s = (k + 0.6 * chance(self._seed, 167, k, lane)) * gap - shift
                if not here - 8.0 < s < here + _SIGHT:
                    continue
                motorway = self._route.section(s)[1].motorway
                if lane == 2 and not motorway:
                    continue
                key = int(chance(self._seed, 168, k, lane) * (1 << 30))
                vehicle = self.vehicle(key, lorries=motorway)
                found.append(Driver(vehicle, s, self._route.lateral(s, lane), True, False))
        return found

    def _beside(self, time: float, here: float) -> list[Driver]:
        found = []
        for lane, pace in ((-1, 3.4), (-2, -4.3)):
            shift = pace * time
            gap = 52.0 + 40.0 * chance(self._seed, 169, lane)
            first = math.floor((-20.0 - shift) / gap)
            last = math.ceil((_SIGHT - shift) / gap)
            for k in range(first, last + 1):
                s = here + (k + 0.5 * chance(self._seed, 170, k, lane)) * gap + shift
                if not here - 15.0 < s < here + _SIGHT or chance(self._seed, 171, k, lane) < 0.35:
                    continue
                if not self._route.section(s)[1].motorway:
                    continue
                key = int(chance(self._seed, 172, k, lane) * (1 << 30))
                vehicle = self.vehicle(key, lorries=lane == -2)
                found.append(Driver(vehicle, s, self._route.lateral(s, lane), False, False))
        return found
