"""What the camera adds: its vignette, its noise, and the bonnet it looks over."""

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.data.drive.chance import chance, generator
from rtseg.data.drive.classes import DriveClass
from rtseg.data.drive.light import Light

__all__ = ["Lens"]

_SPARE = 64


class Lens:
    """The last touch to every frame."""

    def __init__(self, width: int, height: int, seed: int) -> None:
        self._seed, self._width, self._height = seed, width, height
        y = np.linspace(-1, 1, height, dtype=np.float32)[:, None] ** 2
        x = np.linspace(-1, 1, width, dtype=np.float32)[None, :] ** 2
        loss = np.clip((x + y - 0.5) * (10.0 + 16.0 * chance(seed, 180)), 0, 60)
        self._loss = cv2.merge([loss.astype(np.uint8)] * 3)
        rng = generator(seed, 181)
        strength = 1.4 + 2.4 * chance(seed, 182)
        tile = rng.normal(2.2 * strength, strength, (512, 512, 3))
        # A tile as large as the picture, so that a frame's noise is one subtraction.
        small = np.clip(tile, 0, 40).astype(np.uint8)
        shape = (height + _SPARE + 511) // 512, (width + _SPARE + 511) // 512, 1
        self._noise = np.tile(small, shape)[: height + _SPARE, : width + _SPARE]
        self._lift = round(2.2 * strength)
        self._bonnet: tuple[NDArray[np.uint8], NDArray[np.uint8], int] | None = None
        if chance(seed, 183) < 0.4:
            self._bonnet = _bonnet(width, height, seed)

    def finish(
        self, time: float, light: Light, frame: NDArray[np.uint8], mask: NDArray[np.uint8]
    ) -> None:
        """Put the bonnet in, darken the corners, and add the noise of that moment."""
        if self._bonnet is not None:
            image, solid, top = self._bonnet
            lit = image.copy()
            light.paint(lit, 0.0)
            cv2.copyTo(lit, solid, frame[top:])
            cv2.copyTo(np.full_like(solid, DriveClass.VOID), solid, mask[top:])
        tick = round(time * 1_000_000)
        x = int(chance(self._seed, 184, tick) * _SPARE)
        y = int(chance(self._seed, 185, tick) * _SPARE)
        cv2.subtract(frame, self._loss, frame)
        cv2.subtract(frame, self._noise[y : y + self._height, x : x + self._width], frame)


def _bonnet(width: int, height: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8], int]:
    tall = max(2, round(height * (0.05 + 0.09 * chance(seed, 186))))
    top = height - tall
    x = np.linspace(-1, 1, width)[None, :]
    y = np.linspace(0, 1, tall)[:, None]
    edge = 0.06 + 0.5 * np.abs(x - 0.1 * (chance(seed, 187) - 0.5)) ** 2.6
    solid = (y > edge).astype(np.uint8) * 255
    rng = generator(seed, 188)
    paint = np.array(
        [[40, 38, 38], [170, 172, 172], [110, 70, 44], [44, 40, 120]][int(rng.integers(4))],
        np.float64,
    )
    depth = np.clip((y - edge) / (1 - edge), 0, 1)
    sheen = 0.55 + 0.9 * np.exp(-depth * 5.0) + 0.25 * np.exp(-(((np.abs(x) - 0.45) / 0.05) ** 2))
    image = np.clip(paint * sheen[..., None] + 26 * np.exp(-depth * 3)[..., None], 0, 255)
    return image.astype(np.uint8), solid, top
