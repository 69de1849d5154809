"""The drive itself: a picture and its mask for any index."""

import math
import operator

import numpy as np
from numpy.typing import NDArray

from rtseg.data.drive.camera import Camera, View
from rtseg.data.drive.canvas import Canvas
from rtseg.data.drive.ground import Ground
from rtseg.data.drive.lens import Lens
from rtseg.data.drive.light import TICKS, Light, light_at
from rtseg.data.drive.painter import Painter
from rtseg.data.drive.route import Route
from rtseg.data.drive.sky import Sky

__all__ = ["Drive"]

_SIZES = (64, 8192)
_FPS = 1000.0


class Drive:
    """An endless rendered drive along a road, with the exact mask of every frame.

    A frame depends on the size, the rate, the seed and its index alone: frames can be asked for
    in any order, and are the same each time. The picture at a moment is the same at any rate.
    An instance reuses its scratch buffers: it is not for several threads at once.

    Args:
        width: columns of a frame, 64 to 8192.
        height: rows of a frame, 64 to 8192.
        fps: frames a second, above 0 and up to 1000.
        seed: which drive it is, an integer from 0; another seed is another road, camera and light.

    Raises:
        ValueError: a size, a rate or a seed outside those ranges.
    """

    def __init__(
        self, width: int = 1280, height: int = 720, *, fps: float = 30.0, seed: int = 0
    ) -> None:
        self._width = _whole("width", width, *_SIZES)
        self._height = _whole("height", height, *_SIZES)
        self._seed = _whole("seed", seed, 0, (1 << 63) - 1)
        if not (math.isfinite(fps) and 0.0 < fps <= _FPS):
            raise ValueError(f"fps must be above 0 and at most {_FPS:g}, not {fps!r}")
        self._fps = float(fps)
        self._camera = Camera(self._width, self._height, self._seed)
        self._route = Route(self._seed)
        self._sky = Sky(self._width, self._height, self._seed)
        self._ground = Ground(self._width, self._height, self._seed)
        self._painter = Painter(self._seed, self._route)
        self._lens = Lens(self._width, self._height, self._seed)
        self._planes: dict[int, NDArray[np.uint8]] = {}
        self._lit: tuple[int, Light] | None = None

    @property
    def width(self) -> int:
        """Columns of a frame."""
        return self._width

    @property
    def height(self) -> int:
        """Rows of a frame."""
        return self._height

    @property
    def fps(self) -> float:
        """Frames a second."""
        return self._fps

    @property
    def seed(self) -> int:
        """Which drive it is."""
        return self._seed

    def frame(
        self,
        index: int,
        out: NDArray[np.uint8] | None = None,
        mask: NDArray[np.uint8] | None = None,
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return the picture and the mask of a frame.

        Args:
            index: the frame's number, from 0; its moment is index / fps seconds.
            out: a C-contiguous uint8 buffer (H, W, 3) to draw the picture into; None makes one.
            mask: a C-contiguous uint8 buffer (H, W) to draw the mask into; None makes one.

        Returns:
            The picture, uint8 BGR (H, W, 3), and the mask, uint8 (H, W), of `DriveClass` values.

        Raises:
            ValueError: a negative index, or a buffer of another shape, dtype or layout.
        """
        number = operator.index(index)
        if number < 0:
            raise ValueError(f"index must be 0 or more, not {number}")
        picture = _buffer("out", out, (self._height, self._width, 3))
        labels = _buffer("mask", mask, (self._height, self._width))
        time = number / self._fps
        view = View(self._camera, self._route, time)
        light = self._light(time)
        self._sky.draw(view, light, picture, labels)
        self._ground.draw(view, self._route, light, picture, labels)
        self._ground.prepare(view, self._route)
        self._painter.draw(Canvas(picture, labels, view, light, self._planes))
        self._lens.finish(time, light, picture, labels)
        return picture, labels

    def _light(self, time: float) -> Light:
        tick = int(time * TICKS)
        if self._lit is None or self._lit[0] != tick:
            self._lit = tick, light_at(self._seed, tick)
        return self._lit[1]


def _whole(name: str, value: int, least: int, most: int) -> int:
    number = operator.index(value)
    if not least <= number <= most:
        raise ValueError(f"{name} must be {least} to {most}, not {number}")
    return number


def _buffer(
    name: str, buffer: NDArray[np.uint8] | None, shape: tuple[int, ...]
) -> NDArray[np.uint8]:
    if buffer is None:
        return np.empty(shape, np.uint8)
    if buffer.shape != shape or buffer.dtype != np.uint8 or not buffer.flags.c_contiguous:
        raise ValueError(
            f"{name} must be a C-contiguous uint8 array of shape {shape}, "
            f"not {buffer.dtype} {buffer.shape}"
        )
    if not buffer.flags.writeable:
        raise ValueError(f"{name} must be writeable")
    return buffer
