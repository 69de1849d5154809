"""The camera on its way: what part of the road each row of the picture sees."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rtseg.data.drive.chance import chance, wave
from rtseg.data.drive.route import Route

__all__ = ["FARTHEST", "NEAREST", "Camera", "Place", "Span", "View"]

NEAREST = 0.7
FARTHEST = 320.0
_SAMPLES = 150
_RATIO = math.log(FARTHEST / NEAREST) / (_SAMPLES - 1)
_STEP = math.exp(_RATIO) - 1.0


class Place(NamedTuple):
    """A point of the road's centre line, in the camera's axes, in metres, and where it is seen.

    `x` is to the right, `y` up, `z` ahead; `turn` is the road's heading there against the
    camera's; nothing at or below row `clip` of the picture can be seen at this distance.
    It is seen at `column` and `row`; a metre beside the road is `across` columns there, and a
    metre up `scale` rows.
    """

    x: float
    y: float
    z: float
    turn: float
    clip: float
    column: float
    across: float
    row: float
    scale: float


class Span(NamedTuple):
    """Something long beside the road: how far its ends are, and the road's centre there.

    `near` may be less than the distance at which `front` is, when it reaches past the camera.
    """

    near: float
    far: float
    front: Place
    back: Place


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
        steps = camera.steps
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
        clip = np.clip(clip, 0, self.height)
        self._path = np.stack([self.xs, self.ys, self.zs, self.turns, clip], axis=1)
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

    def places(self, distances: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the road's centre at distances ahead along the road: a row a `Place`."""
        at = np.log(np.maximum(distances, NEAREST) / NEAREST) / _RATIO
        low = np.minimum(at.astype(int), _SAMPLES - 2)
        start = self._ahead[low]
        part = (distances - start) / (start * _STEP)
        found = np.empty((len(distances), 9))
        found[:, :5] = self._path[low]
        found[:, :4] += (self._path[low + 1, :4] - found[:, :4]) * part[:, None]
        x, y, z, turn = found[:, :4].T
        cos = np.cos(turn)
        found[:, 8] = scale = self.focal / np.maximum(z, 0.2)
        found[:, 5] = self.centre + (x - self.offset * cos) * scale
        found[:, 6] = cos * scale
        found[:, 7] = self.middle - y * scale
        return found

    def ground(self, u: NDArray[np.float64], distance: NDArray[np.float64]) -> NDArray[np.float64]:
        """Project points on the ground, given across and along the road, to (N, 2)."""
        scale = self.focal / np.interp(distance, self._ahead, self.zs)
        x = np.interp(distance, self._ahead, self.xs) + (u - self.offset) * np.cos(
            np.interp(distance, self._ahead, self.turns)
        )
        y = np.interp(distance, self._ahead, self.ys)
        return np.stack([self.centre + x * scale, self.middle - y * scale], axis=1)

    @staticmethod
    def point(place: Place, u: float, up: float) -> tuple[float, float, float]:
        """Project a point beside a place: its column, its row, and pixels a metre there."""
        scale = place.scale
        return place.column + u * place.across, place.row - up * scale, scale


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
        self.steps: NDArray[np.float64] = np.diff(self.distances, prepend=0.0)
