"""CamVid (Brostow et al. 2009) in the layout of the SegNet split: ``train`` beside ``trainannot``."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.data.labels import CAMVID11, CAMVID11_VOID, ClassTable, merge_table
from rtseg.errors import InputError


class CamVid:
    """Frames and masks of one split: 480×360 BGR uint8, and (H, W) uint8 of ``classes``' indices.

    Pixels without a class are :data:`rtseg.data.labels.VOID`. ``InputError`` where the folder, a
    mask or a picture is missing or unreadable.
    """

    def __init__(self, folder: str | Path, split: str, classes: ClassTable = CAMVID11) -> None:
        pictures, masks = Path(folder) / split, Path(folder) / f"{split}annot"
        if not pictures.is_dir():
            raise InputError(f"{pictures}: no such folder: --camvid takes CamVid's SegNet split")
        self._files = sorted(pictures.glob("*.png"))
        if not self._files:
            raise InputError(f"{pictures}: no PNG pictures in it")
        self._masks = [masks / file.name for file in self._files]
        for mask in self._masks:
            if not mask.is_file():
                raise InputError(f"{mask}: this picture's mask is missing")
        self._table = merge_table(CAMVID11, classes, CAMVID11_VOID)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        frame = cv2.imread(str(self._files[index]), cv2.IMREAD_COLOR)
        mask = cv2.imread(str(self._masks[index]), cv2.IMREAD_UNCHANGED)
        if frame is None:
            raise InputError(f"{self._files[index]}: not a readable picture")
        if mask is None or mask.shape != frame.shape[:2] or mask.dtype != np.uint8:
            raise InputError(f"{self._masks[index]}: not a mask of its picture's size")
        return frame.astype(np.uint8, copy=False), self._table[mask]
