"""KITTI road's bird's-eye view (Fritsch et al., ITSC 2013), as its development kit makes it.

The road is taken for a plane. A pixel of the view is 5 cm square, and has the value of the one pixel
of the picture in which its middle lies: nothing is interpolated. So a truth may be warped before or
after it is decoded, and a probability keeps its 8 bits.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.errors import InputError

WIDTH = 400
"""Pixels: from 10 m at the left of the camera to 10 m at its right."""

HEIGHT = 800
"""Pixels: from 46 m ahead, the first row, to 6 m."""

VOID = 255

_SIDE = 0.05  # metres of a pixel
_NEAREST, _FARTHEST, _BESIDE = 6, 46, 10  # metres

_WHOLE_PIXELS = np.empty(0, np.uint16)  # there are no fractions of them to look up

_NEEDED = {"P2": (3, 4), "R0_rect": (3, 3), "Tr_cam_to_road": (3, 4)}


def calibration_of(picture: Path) -> Path | None:
    """Return the calibration of ``image_2/um_000000.png``: ``calib/um_000000.txt`` beside its folder.

    None if the picture is not of that layout or has no calibration.
    """
    if picture.parent.name != "image_2":
        return None
    file = picture.parent.parent / "calib" / f"{picture.stem}.txt"
    return file if file.is_file() else None


class BirdsEye:
    """The view from above that belongs to one calibration file.

    ``matrix`` (3, 3) float64 takes a place on the road (x to the right, z ahead, 1; metres) to the
    picture: homogeneous column and row, which the development kit counts from 1.

    ``InputError`` where the file cannot be read or is no calibration.
    """

    def __init__(self, calibration: str | Path) -> None:
        values = _read(Path(calibration))
        rectify, to_road = np.eye(4), np.eye(4)
        rectify[:3, :3] = values["R0_rect"]
        to_road[:3] = values["Tr_cam_to_road"]
        try:
            from_road = np.linalg.inv(to_road)
        except np.linalg.LinAlgError as error:
            raise InputError(
                f"{calibration}: its Tr_cam_to_road is singular: not a calibration"
            ) from error
        # On the road the height, y, is 0.
        self.matrix: NDArray[np.float64] = (values["P2"] @ rectify @ from_road)[:, [0, 2, 3]]
        self._places: dict[tuple[int, int], NDArray[np.int16]] = {}

    def warp(self, image: NDArray[Any], outside: int = 0) -> NDArray[Any]:
        """Return the view (800, 400) or (800, 400, C) of a picture (H, W) or (H, W, C), of its dtype.

        The picture is of the camera's own size. What lies out of it is ``outside``; the development
        kit takes 0, which in its coloured truths means invalid.
        """
        height, width = image.shape[:2]
        places = self._places.get((height, width))
        if places is None:
            places = self._places[height, width] = self._look_up(height, width)
        view: NDArray[Any] = cv2.remap(
            image, places, _WHOLE_PIXELS, cv2.INTER_NEAREST,
            borderMode=cv2.BORDER_CONSTANT, borderValue=(outside,) * 4,
        )  # fmt: skip
        return view

    def warp_truth(self, truth: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the view (800, 400) uint8 of a truth (H, W) uint8: VOID where it lies out of it."""
        return self.warp(truth, VOID)

    def _look_up(self, height: int, width: int) -> NDArray[np.int16]:
        """For each pixel of the view its column and row in the picture, (800, 400, 2), or -1."""
        x = np.arange(-_BESIDE + _SIDE / 2, _BESIDE, _SIDE)
        z = np.arange(_FARTHEST - _SIDE / 2, _NEAREST, -_SIDE)
        # In single precision, as in the development kit: a middle may lie just beside an edge.
        road = np.stack([axis.ravel() for axis in np.meshgrid(x, z)]).astype(np.float32)
        u, v, w = self.matrix @ np.vstack((road, np.ones_like(road[:1])))
        ahead = w > 0
        u, v = (np.divide(a, w, out=np.zeros_like(a), where=ahead) for a in (u, v))
        inside = ahead & (u >= 1) & (v >= 1) & (u <= width) & (v <= height)
        places = np.full((*u.shape, 2), -1, np.int16)
        places[inside, 0] = u[inside].astype(np.int16) - 1
        places[inside, 1] = v[inside].astype(np.int16) - 1
        return places.reshape(HEIGHT, WIDTH, 2)


def _read(path: Path) -> dict[str, NDArray[np.float64]]:
    """Read the matrices that are needed from lines of ``NAME: numbers``."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot read this calibration: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a calibration file: not text") from error
    found: dict[str, NDArray[np.float64]] = {}
    for line in lines:
        name, _, numbers = line.partition(":")
        shape = _NEEDED.get(name.strip())
        if shape is None:
            continue
        try:
            values = np.array(numbers.split(), np.float64)
        except ValueError as error:
            raise InputError(f"{path}: its {name.strip()} holds what is no number") from error
        if values.size != shape[0] * shape[1] or not np.isfinite(values).all():
            raise InputError(
                f"{path}: its {name.strip()} is not {shape[0]} x {shape[1]} finite numbers"
            )
        found[name.strip()] = values.reshape(shape)
    missing = [name for name in _NEEDED if name not in found]
    if missing:
        raise InputError(
            f"{path}: no {' and no '.join(missing)} in this calibration: take that of KITTI road"
        )
    return found
