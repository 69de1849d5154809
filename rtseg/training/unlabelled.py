"""Pictures of a folder, without a truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtseg.data.labels import VOID, ClassTable
from rtseg.data.pictures import PICTURE_SUFFIXES, read_picture
from rtseg.errors import InputError


class UnlabelledPictures:
    """The pictures of ``folder``, in the order of their names; every mask is VOID throughout.

    ``InputError`` where there are none.
    """

    def __init__(self, folder: str | Path, classes: ClassTable) -> None:
        self.classes = classes
        path = Path(folder)
        if not path.is_dir():
            raise InputError(f"{folder}: no such folder of pictures")
        self._files = sorted(f for f in path.iterdir() if f.suffix.lower() in PICTURE_SUFFIXES)
        if not self._files:
            raise InputError(f"{folder}: no pictures in it ({', '.join(PICTURE_SUFFIXES)})")

    def __len__(self) -> int:
        return len(self._files)

    def name(self, index: int) -> str:
        """Return the picture's path."""
        return str(self._files[index])

    def read(self, index: int, chance: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return the frame (H, W, 3) uint8 BGR, and a mask of VOID; ``InputError`` if unreadable."""
        frame = read_picture(self._files[index])
        return frame, np.full(frame.shape[:2], VOID, np.uint8)
