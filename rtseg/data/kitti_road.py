"""The truth of KITTI road (Fritsch et al. 2013), as its development kit defines it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.data.labels import VOID


def truth_of(picture: Path) -> Path | None:
    """Return where the truth of ``image_2/um_000000.png`` lies: ``gt_image_2/um_road_000000.png``.

    None if the picture is not of that layout. The file itself need not exist.
    """
    folder = picture.parent.parent / "gt_image_2"
    if picture.parent.name != "image_2" or "_" not in picture.stem or not folder.is_dir():
        return None
    category, number = picture.stem.rsplit("_", 1)
    return folder / f"{category}_road_{number}.png"


def decode_truth(colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the mask (H, W) uint8 of a truth (H, W, 3) uint8 BGR: 1 road, 0 not, VOID invalid.

    Blue is road and red is valid.
    """
    truth = np.where(colours[..., 0] > 0, np.uint8(1), np.uint8(0))
    truth[colours[..., 2] == 0] = VOID
    return truth


def read_kitti_road_truth(picture: Path) -> NDArray[np.uint8] | None:
    """Return KITTI road's true mask of a picture: 1 road, 0 not, VOID invalid; None if it has none."""
    file = truth_of(picture)
    if file is None or not file.is_file():
        return None
    colours = cv2.imread(str(file), cv2.IMREAD_COLOR)
    return None if colours is None else decode_truth(colours.astype(np.uint8, copy=False))
