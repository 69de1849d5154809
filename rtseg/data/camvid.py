"""CamVid (Brostow et al. 2009) in the layout of the SegNet split: ``train`` beside ``trainannot``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtseg.data.labels import CAMVID11, CAMVID11_VOID, ClassTable, Legend, merge_table
from rtseg.data.pictures import read_mask_file, read_picture
from rtseg.errors import InputError

CAMVID11_LEGEND = Legend((*CAMVID11.names, "Void"), (*CAMVID11.colours, (0, 0, 0)))
"""What the masks of the SegNet split, and of the rendered drive, hold: 11 classes and void."""


class CamVid:
    """Frames and masks of one split: 480×360 BGR uint8, and (H, W) uint8 of ``classes``' indices.

    Pixels without a class are :data:`rtseg.data.labels.VOID`. ``InputError`` where the folder, a
    mask or a picture is missing or unreadable. ``table`` (256,) uint8 leads from the masks' indices
    to those of ``classes``, by default by name.
    """

    def __init__(
        self,
        folder: str | Path,
        split: str,
        classes: ClassTable = CAMVID11,
        *,
        table: NDArray[np.uint8] | None = None,
    ) -> None:
        self.classes = classes
        pictures, masks = Path(folder) / split, Path(folder) / f"{split}annot"
        if not pictures.is_dir():
            raise InputError(f"{pictures}: no such folder: CamVid's SegNet split has it")
        self._files = sorted(pictures.glob("*.png"))
        if not self._files:
            raise InputError(f"{pictures}: no PNG pictures in it")
        self._masks = [masks / file.name for file in self._files]
        for mask in self._masks:
            if not mask.is_file():
                raise InputError(f"{mask}: this picture's mask is missing")
        self._table = merge_table(CAMVID11, classes, CAMVID11_VOID) if table is None else table

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        frame = read_picture(self._files[index])
        mask = read_mask_file(self._masks[index]).indices
        if mask is None or mask.shape != frame.shape[:2]:
            raise InputError(f"{self._masks[index]}: not a mask of its picture's size")
        return frame, self._table[mask]

    def name(self, index: int) -> str:
        """Return the picture's path."""
        return str(self._files[index])

    def read(self, index: int, chance: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return frame and mask, as by index; ``chance`` has no say."""
        return self[index]
