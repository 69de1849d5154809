"""Light and weather: how they change during a drive, and what they do to colours."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.data.drive.chance import chance

__all__ = ["TICKS", "Light", "light_at"]

TICKS = 6
"""How often a second the light changes: too often to see it step, and rarely enough to keep
what it lit from frame to frame."""

# One row a kind of light: blue, green, red gains; the zenith, the horizon and the clouds (BGR);
# cloud cover; haze per kilometre; how hard the shadows are; wetness; lamps lit; the sun's glare.
_KINDS = np.array(
    [
        [0.99, 1.02, 1.05, 205, 140, 72, 232, 212, 186, 246, 246, 248, 0.35, 1.6, 0.8, 0, 0, 0.5],
        [0.95, 1.04, 1.10, 218, 160, 92, 236, 222, 200, 250, 250, 250, 0.15, 1.0, 1.0, 0, 0, 0.6],
        [0.86, 0.86, 0.85, 196, 188, 178, 222, 218, 212, 206, 203, 199, 0.85, 3.0, 0.1, 0, 0, 0],
        [0.72, 0.71, 0.69, 158, 152, 144, 190, 187, 181, 136, 132, 128, 0.9, 5.0, 0, 0.8, 0.5, 0],
        [0.74, 0.93, 1.14, 198, 150, 108, 160, 205, 240, 176, 212, 244, 0.4, 3.0, 0.9, 0, 0, 1.0],
        [0.60, 0.55, 0.54, 138, 96, 66, 128, 142, 186, 120, 102, 116, 0.5, 3.5, 0.1, 0.1, 1, 0.2],
        [0.95, 0.96, 0.97, 216, 206, 196, 230, 228, 224, 228, 226, 222, 0.5, 9.0, 0.25, 0, 0.2, 0],
        [0.82, 0.86, 0.92, 190, 158, 124, 205, 204, 200, 232, 236, 240, 0.6, 2.2, 0.6, 0.5, 0, 0.7],
    ]
)
_PERIOD = 21.0


class Light:
    """The light of one moment."""

    def __init__(self, row: NDArray[np.float64], sun: float, exposure: float) -> None:
        self.gain = row[0:3] * exposure
        self.zenith, self.horizon, self.cloud = row[3:6], row[6:9], row[9:12]
        self.cover = float(row[12])
        self.density = float(row[13]) / 1000.0
        self.shadow, self.wet = float(row[14]), float(row[15])
        self.lamps, self.glare = float(row[16]), float(row[17])
        self.sun = sun
        self.haze = 0.88 * self.horizon
        self._grades: dict[int, NDArray[np.float64]] = {}
        self._ground_grades: dict[int, NDArray[np.float64]] = {}

    def fog(self, distance: float) -> float:
        """Return the share of haze in what is seen at a distance in metres."""
        return 1.0 - math.exp(-self.density * distance)

    def colour(
        self, bgr: tuple[float, float, float], distance: float = 0.0
    ) -> tuple[float, float, float]:
        """Return a surface's own colour as the camera sees it at a distance."""
        fog = self.fog(distance)
        gain, haze, clear = self.gain, self.haze, 1.0 - fog
        return (
            min(255.0, bgr[0] * gain[0]) * clear + haze[0] * fog,
            min(255.0, bgr[1] * gain[1]) * clear + haze[1] * fog,
            min(255.0, bgr[2] * gain[2]) * clear + haze[2] * fog,
        )

    def colours(self, bgr: NDArray[np.float64], distance: float) -> NDArray[np.float64]:
        """Return surfaces' own colours (N, 3) as the camera sees them at a distance."""
        fog = self.fog(distance)
        lit: NDArray[np.float64] = np.minimum(bgr * self.gain, 255.0) * (1 - fog) + self.haze * fog
        return lit

    def paint(self, image: NDArray[np.uint8], distance: float) -> None:
        """Turn a picture's own colours (BGR) into what the camera sees at a distance."""
        step = int(self.fog(distance) * 40.0)
        grade = self._grades.get(step)
        if grade is None:
            grade = self._grades[step] = self._grade(1.0, step / 40.0)
        cv2.transform(image, grade, image)

    def _grade(self, gain: float, fog: float) -> NDArray[np.float64]:
        """Return the colour matrix (3, 4) of a share of haze: OpenCV is quick with a diagonal."""
        return np.column_stack([np.diag(self.gain * (gain * (1.0 - fog))), self.haze * fog])

    def ground_steps(self, depths: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return how much of the sky ground at some depths in metres takes on, in steps."""
        clear = np.exp(-self.density * depths)
        clear *= 1.0 - self.wet * 0.5 * depths / (depths + 22.0)
        steps: NDArray[np.int64] = ((1.0 - clear) * 64.0).astype(np.int64)
        return steps

    def paint_ground(self, rows: NDArray[np.uint8], step: int) -> None:
        """Light rows of ground of a step: wet ground is darker, and mirrors the sky."""
        grade = self._ground_grades.get(step)
        if grade is None:
            grade = self._grade(1.0 - 0.22 * self.wet, step / 64.0)
            self._ground_grades[step] = grade
        cv2.transform(rows, grade, rows)


def light_at(seed: int, tick: int) -> Light:
    """Return the light of a tick; it drifts from one kind to another."""
    time = tick / TICKS
    bias = int(chance(seed, 60) * len(_KINDS))
    at = time / _PERIOD + chance(seed, 61)
    index = int(at)

    def kind(i: int) -> NDArray[np.float64]:
        pick = bias if chance(seed, 62, i) < 0.4 else int(chance(seed, 63, i) * len(_KINDS))
        row: NDArray[np.float64] = _KINDS[pick]
        return row

    part = at - index
    part = min(max((part - 0.25) / 0.75, 0.0), 1.0)
    part = part * part * (3.0 - 2.0 * part)
    row = kind(index) * (1.0 - part) + kind(index + 1) * part
    exposure = 0.92 + 0.2 * chance(seed, 64)
    return Light(row, math.tau * chance(seed, 65), exposure)
