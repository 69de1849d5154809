"""Pictures of a folder, without a truth."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.data.labels import VOID, ClassTable
from rtseg.errors import InputError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")


class UnlabelledPictures:
    """The pictures of ``folder``, in the order of their names; every mask is VOID throughout.

    ``InputError`` where there are none.
    """

    def __init__(self, folder: str | Path, classes: ClassTable) -> None:
        self.classes = classes
        path = Path(folder)
        if not path.is_dir():
            raise InputError(f"{folder}: no such folder of pictures")
        self._files = sorted(f for f in path.iterdir() if f.suffix.lower() in SUFFIXES)
        if not self._files:
            raise InputError(f"{folder}: no pictures in it ({', '.join(SUFFIXES)})")

    def __len__(self) -> int:
        return len(self._files)

    def name(self, index: int) -> str:
        """Return the picture's path."""
        return str(self._files[index])

    def read(self, index: int, chance: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return the frame (H, W, 3) uint8 BGR, and a mask of VOID; ``InputError`` if unreadable."""
        frame = cv2.imread(str(self._files[index]), cv2.IMREAD_COLOR)
        if frame is None:
            raise InputError(f"{self._files[index]}: not a readable picture")
        return frame.astype(np.uint8, copy=False), np.full(frame.shape[:2], VOID, np.uint8)
