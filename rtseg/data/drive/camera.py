"""The camera on its way: what part of the road each row of the picture sees."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rtseg.data.drive.chance import chance, wave
from rtseg.data.drive.route import Route

__all__ = ["FARTHEST", "NEAREST", "Camera", "Place", "View"]

NEAREST = 0.7
FARTHEST = 320.0
_SAMPLES = 150
_RATIO = math.log(FARTHEST / NEAREST) / (_SAMPLES - 1)
_STEP = math.exp(_RATIO) - 1.0


class Place(NamedTuple):
    """A point of the road's centre line, in the camera's axes, in metres.

    `x` is to the right, `y` up, `z` ahead; `turn` is the road's heading there against the
    camera's; nothing at or below row `clip` of the picture can be seen at this distance.
    """

    x: float
    y: float
    z: float
    turn: float
    clip: int


class View:
    """What a camera sees at one moment: the projection, and the road ahead in its axes."""

    def __init__(self, camera: "Camera", route: Route, time: float) -> None:
        self.width, self.height = camera.width, camera.height
        self.time = time
        self.s = s = route.travelled(time)
        self.focal = focal = camera.focal
        self.offset = route.lateral(s) + route.sway(time)
        self._ahead = ahead = camera.distances
        here = s + ahead
        theta0 = float(route.heading(np.array([s]))[0])
        theta = route.heading(here) - theta0
        look = 0.45 * float(np.interp(22.0, ahead, theta)) + camera.yaw
        look += 0.012 * (wave(camera.seed, 40, time / 1.7) - 0.5)
        self.azimuth = theta0 + look
        theta -= look
        steps = np.diff(ahead, prepend=0.0)
        self.zs = np.cumsum(np.cos(theta) * steps)
        self.xs = np.cumsum(np.sin(theta) * steps)
        self.turns = theta
        grade = 0.75 * route.slope(s + 3.0) + 0.25 * route.slope(s + 25.0)
        shake = camera.shake * (
            math.sin(time * 23.0) * 0.5 + math.sin(time * 37.7 + 1.0) * 0.3
        ) + 0.006 * (wave(camera.seed, 41, time * 1.3) - 0.5)
        self.ys = route.height(here) - float(route.height(np.array([s]))[0])
        self.ys -= grade * ahead + camera.above
        self.centre = self.width / 2.0
        self.middle = camera.horizon + focal * shake
        self.horizon = self.middle + focal * grade
        rows = self.middle - focal * self.ys / self.zs
        low = np.minimum.accumulate(rows)
        seen = np.ones(len(rows), bool)
        seen[1:] = rows[1:] < low[:-1]
        clip = np.ceil(np.concatenate(([self.height + 1.0], low[:-1])) + 0.5)
        self._clip = np.clip(clip, 0, self.height).astype(int).tolist()
        self._path = np.stack([self.xs, self.ys, self.zs, self.turns], axis=1).tolist()
        top = math.ceil(float(low[-1]) - 0.5)
        self.top = min(max(top, 0), self.height)
        at = np.arange(self.top, self.height, dtype=np.float64) + 0.5
        # 1/z is linear in the row on a plane, so that interpolating it is exact where it is flat.
        order = rows[seen][::-1]
        inverse = np.interp(at, order, 1.0 / self.zs[seen][::-1])
        below = at > rows[0]
        if below.any():
            inverse[below] = (at[below] - self.middle) / (-focal * self.ys[0])
        self.row_z = 1.0 / np.maximum(inverse, 1e-4)
        self.row_s = np.interp(self.row_z, self.zs, ahead)
        self.row_x = np.interp(self.row_s, ahead, self.xs)

    def place(self, distance: float) -> Place:
        """Return the road's centre at a distance ahead, in metres along the road."""
        at = math.log(max(distance, NEAREST) / NEAREST) / _RATIO
        i = min(int(at), _SAMPLES - 2)
        low = NEAREST * math.exp(_RATIO * i)
        part = (distance - low) / (low * _STEP)
        x, y, z, turn = self._path[i]
        x1, y1, z1, turn1 = self._path[i + 1]
        return Place(
            x + (x1 - x) * part,
            y + (y1 - y) * part,
            z + (z1 - z) * part,
            turn + (turn1 - turn) * part,
            self._clip[i],
        )

    def ground(self, u: NDArray[np.float64], distance: NDArray[np.float64]) -> NDArray[np.float64]:
        """Project points on the ground, given across and along the road, to (N, 2)."""
        scale = self.focal / np.interp(distance, self._ahead, self.zs)
        x = np.interp(distance, self._ahead, self.xs) + (u - self.offset) * np.cos(
            np.interp(distance, self._ahead, self.turns)
        )
        y = np.interp(distance, self._ahead, self.ys)
        return np.stack([self.centre + x * scale, self.middle - y * scale], axis=1)

    def point(self, place: Place, u: float, up: float) -> tuple[float, float, float]:
        """Project a point beside a place: its column, its row, and pixels a metre there."""
        scale = self.focal / max(place.z, 0.2)
        side = u - self.offset
        x = place.x + side * math.cos(place.turn)
        return (
            self.centre + x * scale,
            self.middle - (place.y + up) * scale,
            scale,
        )


class Camera:
    """A dash camera: its lens and how it is mounted, which a seed decides."""

    def __init__(self, width: int, height: int, seed: int) -> None:
        self.width, self.height, self.seed = width, height, seed
        self.focal = min(width, height * 1.9) * (0.74 + 0.36 * chance(seed, 50))
        self.above = 1.15 + 0.6 * chance(seed, 51) ** 1.5
        self.horizon = height * (0.40 + 0.13 * chance(seed, 52))
        self.yaw = 0.05 * (chance(seed, 53) - 0.5)
        self.shake = 0.0005 + 0.0012 * chance(seed, 54)
        self.distances: NDArray[np.float64] = NEAREST * np.exp(_RATIO * np.arange(_SAMPLES))
