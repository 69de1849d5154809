"""The sky with its clouds and sun, and the hills and woods on the skyline."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.data.drive.camera import View
from rtseg.data.drive.chance import chance, generator
from rtseg.data.drive.classes import DriveClass
from rtseg.data.drive.light import Light

__all__ = ["Sky"]

_AROUND, _UP = 2048, 256
_SPARE = 512


class Sky:
    """Draws what is far away. It keeps scratch buffers: one thread at a time."""

    def __init__(self, width: int, height: int, seed: int) -> None:
        self._seed = seed
        self._clouds = _clouds(seed)
        self._size = (max(width // 4, 16), max(height // 4, 16))
        self._near = _ridge(seed, 1, 90)
        self._far = _ridge(seed, 2, 24)
        reach = 64
        y, x = np.mgrid[-reach:reach, -reach:reach] / reach
        far = np.sqrt(x * x + y * y)
        glow = np.clip(1 - far, 0, 1) ** 2.6 * 165 + 255 * (far < 0.07)
        soft = np.clip(cv2.GaussianBlur(glow, (0, 0), 2.5), 0, 255).astype(np.uint8)
        self._glow = cv2.merge([soft, soft, soft])

    def draw(
        self,
        view: View,
        light: Light,
        frame: NDArray[np.uint8],
        mask: NDArray[np.uint8],
    ) -> None:
        """Paint every row above the top of the ground, and the skyline."""
        bottom = max(view.top, 1)
        mask[:bottom] = DriveClass.SKY
        rows = min(bottom, view.height)
        columns, small_rows = self._size[0], max(rows // 4, 2)
        up = (view.horizon - (np.arange(small_rows) + 0.5) * rows / small_rows) / view.focal
        share = np.clip(up / 0.55, 0.0, 1.0)[:, None] ** 0.65
        clear = light.horizon * (1 - share) + light.zenith * share
        alpha = self._cover(view, light, columns, small_rows, rows)
        haze = np.clip(up / 0.12, 0.0, 1.0)[:, None]
        cloud = light.cloud * haze + light.horizon * (1 - haze)
        base = np.repeat(clear[:, None, :].astype(np.uint8), columns, axis=1)
        over = np.repeat(cloud[:, None, :].astype(np.uint8), columns, axis=1)
        small = cv2.blendLinear(over, base, alpha, 1.0 - alpha)
        cv2.resize(small, (view.width, rows), frame[:rows])
        if light.glare > 0.02:
            self._sun(view, light, frame[:rows])
        self._skyline(view, light, frame, mask)

    def _cover(
        self, view: View, light: Light, columns: int, rows: int, full_rows: int
    ) -> NDArray[np.float32]:
        scale = _AROUND / math.tau / view.focal
        drift = view.time * 0.0016
        left = (view.azimuth + drift) * _AROUND / math.tau - view.width / 2 * scale
        # Clouds lie flat overhead: they shrink towards the horizon.
        across, up = scale * view.width / columns, scale * full_rows / rows
        left, top = left % _AROUND, view.horizon * scale
        matrix = np.array([[across, 0.0, left], [0.0, -up, top]])
        clouds, border = self._clouds, cv2.BORDER_CONSTANT
        if left + across * columns >= _AROUND + _SPARE or top >= _UP - 1:
            # An unusual shape of picture sees the clouds more than once: wrapping is slower.
            clouds, border = clouds[:, :_AROUND], cv2.BORDER_WRAP
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        size = (columns, rows)
        soft = np.asarray(cv2.warpAffine(clouds, matrix, size, flags=flags, borderMode=border))
        edge = 1.0 - light.cover
        cover: NDArray[np.float32] = np.clip((soft - edge) * (2.2 + 2.0 * light.cover), 0.0, 0.96)
        return cover

    def _sun(self, view: View, light: Light, sky: NDArray[np.uint8]) -> None:
        away = (light.sun - view.azimuth + math.pi) % math.tau - math.pi
        if abs(away) > 1.1:
            return
        x = view.centre + math.tan(away) * view.focal
        y = view.horizon - (0.10 + 0.25 * (1.1 - light.glare)) * view.focal
        size = round(view.focal * 0.5)
        left, top = round(x) - size, round(y) - size
        a, b = max(left, 0), min(left + 2 * size, sky.shape[1])
        c, d = max(top, 0), min(top + 2 * size, sky.shape[0])
        if a >= b or c >= d:
            return
        part = sky[c:d, a:b]
        tint = np.array([0.75, 0.92, 1.0]) * light.glare
        table = np.clip(np.arange(256.0)[:, None] * tint, 0, 255).astype(np.uint8)[None]
        # Only the part in sight is scaled up, from the small picture.
        scale = self._glow.shape[0] / (2 * size)
        u0, u1 = int((a - left) * scale), math.ceil((b - left) * scale)
        v0, v1 = int((c - top) * scale), math.ceil((d - top) * scale)
        glow = cv2.resize(cv2.LUT(self._glow[v0:v1, u0:u1], table), (b - a, d - c))
        cv2.add(part, glow, part)

    def _skyline(
        self,
        view: View,
        light: Light,
        frame: NDArray[np.uint8],
        mask: NDArray[np.uint8],
    ) -> None:
        columns = np.linspace(-2.0, view.width + 2.0, 240)
        bearing = view.azimuth + np.arctan((columns - view.centre) / view.focal)
        floor = view.top + 2.0
        for ridge, height, distance, colour in (
            (self._far, 0.055, 900.0, (92.0, 100.0, 82.0)),
            (self._near, 0.026, 420.0, (48.0, 74.0, 58.0)),
        ):
            at = np.mod(bearing / math.tau, 1.0) * len(ridge)
            up = np.interp(at, np.arange(len(ridge) + 1), np.append(ridge, ridge[0]))
            rows = np.minimum(view.horizon - up * height * view.focal, floor - 1.0)
            edge = np.stack([columns, rows], axis=1)
            shape = np.vstack([edge, [[view.width + 2.0, floor], [-2.0, floor]]])
            fixed = np.round(shape * 16).astype(np.int32)
            tone = light.colour(colour, distance)
            cv2.fillPoly(frame, [fixed], tone, cv2.LINE_AA, 4)
            cv2.fillPoly(mask, [fixed], int(DriveClass.TREE), cv2.LINE_8, 4)


def _clouds(seed: int) -> NDArray[np.float32]:
    """Return the clouds all around and a little further (rows up from the horizon), in [0, 1]."""
    rng = generator(seed, 120)
    total = np.zeros((_UP, _AROUND), np.float32)
    weight = 1.0
    for cells in (6, 12, 24, 48, 96, 200):
        rows = max(2, cells // 4)
        small = rng.random((rows, cells), np.float32)
        # Three turns side by side, and the middle one kept: so the clouds close their circle.
        wide = cv2.resize(np.tile(small, 3), (3 * _AROUND, rows), interpolation=cv2.INTER_CUBIC)
        turn = wide[:, _AROUND : 2 * _AROUND]
        total += weight * cv2.resize(turn, (_AROUND, _UP), interpolation=cv2.INTER_CUBIC)
        weight *= 0.62
    total -= total.min()
    total /= total.max()
    # Flatten the spread, so that a cover of a half covers about half of the sky.
    flat = cv2.equalizeHist(np.clip(total * 255.0, 0, 255).astype(np.uint8))
    clouds: NDArray[np.float32] = flat.astype(np.float32) / np.float32(255.0)
    return np.hstack([clouds, clouds[:, :_SPARE]])


def _ridge(seed: int, key: int, cells: int) -> NDArray[np.float64]:
    rng = generator(seed, 121, key)
    n = 1024
    x = np.arange(n) / n
    total = np.zeros(n)
    for k in range(1, 7):
        turns = max(1, int(cells * k * 0.37))
        total += np.sin(math.tau * (turns * x + rng.random())) / k**0.8
    total += rng.normal(0, 0.25 if key == 1 else 0.02, n)
    low, high = total.min(), total.max()
    ridge: NDArray[np.float64] = 0.25 + 0.75 * (total - low) / (high - low)
    return ridge * (0.5 + chance(seed, 122, key))
