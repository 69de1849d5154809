"""Pictures in folders: plain ones, and KITTI's layouts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.data.kitti_road import read_kitti_road_truth
from rtseg.data.labels import ROAD, VOID, ClassTable, covers, merge_table
from rtseg.errors import InputError
from rtseg.video.frame import LiveFrame, now
from rtseg.video.pace import Pace
from rtseg.video.quiet import Aside, quiet_opencv
from rtseg.video.sources import IMAGE_SUFFIXES, Source

# Where the left camera's pictures lie in KITTI's folders, colour before grey: raw recordings,
# odometry sequences, and the object and road benchmarks.
_KITTI = (
    "image_02/data", "image_00/data", "image_2", "image_0", "image_02", "image_00",
    "training/image_2", "testing/image_2",
)  # fmt: skip


def _natural(path: Path) -> list[tuple[int, int | str]]:
    """Sort key that puts frame 10 after frame 9."""
    return [
        (0, int(part)) if part.isdecimal() else (1, part)
        for part in re.split(r"(\d+)", str(path))
        if part
    ]


def _pictures(folder: Path) -> list[Path]:
    try:
        return [f for f in folder.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES and f.is_file()]
    except OSError as error:
        raise InputError(f"{folder}: cannot read this folder: {error.strerror}") from error


def pictures_of(folder: Path) -> list[Path]:
    """Return the pictures in ``folder``, or in the KITTI layout below it; ``InputError`` if none."""
    for candidate in (folder, *(folder / below for below in _KITTI)):
        if candidate.is_dir() and (found := _pictures(candidate)):
            return found
    raise InputError(
        f"{folder}: no pictures in this folder, nor in a KITTI layout below it "
        "(image_02/data, image_2, image_0)"
    )


class ImageSource(Source):
    """Pictures as frames, in the natural order of their names; 10 a second where it matters.

    Grey pictures are taken as BGR, 16-bit ones by their upper 8 bits; where the first 16-bit picture
    has no value above 4095, all are taken as 12-bit. A picture that cannot be read is named,
    counted and passed over.
    """

    kind = "images"

    def __init__(
        self,
        name: str,
        files: Sequence[Path],
        classes: Sequence[str],
        *,
        fps: float | None = None,
        realtime: bool = False,
    ) -> None:
        super().__init__()
        self.name = name
        quiet_opencv()
        self._files = sorted(files, key=_natural)
        self.paths = self._files
        self.count = len(self._files)
        self.fps = fps or 10.0  # KITTI's own rate
        self.live = realtime
        self._pace = Pace(self.fps) if realtime else None
        self._next = 0
        self._shift: int | None = None
        self._aside = Aside()
        self._read_any = False
        self._stopped = False
        table = ClassTable(tuple(classes), ((0, 0, 0),) * len(classes))
        self._truth_table = merge_table(ROAD, table, VOID)
        self.truth = covers(ROAD, table) and read_kitti_road_truth(self._files[0]) is not None

    def _decode(self, file: Path) -> NDArray[np.uint8] | None:
        try:
            with self._aside.set():
                picture = cv2.imread(str(file), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
        except cv2.error:  # too large, for one
            picture = None
        # Of a JPEG that is cut short there is the upper part, and this line of libjpeg's.
        cut = "Premature end" in self._aside.text()
        if picture is None or not picture.size or cut:
            return None
        if picture.dtype == np.uint16:
            if self._shift is None:
                self._shift = 8 if picture.max() > 4095 else 4
            return np.right_shift(picture, self._shift).astype(np.uint8)
        return picture.astype(np.uint8, copy=False) if picture.dtype == np.uint8 else None

    def _complain_of(self, bad: list[str]) -> None:
        while bad:
            self.complain(bad.pop(0))

    def read(self, frame: LiveFrame) -> bool:
        bad: list[str] = []  # said at once, but not where one line says that all are
        while self._next < len(self._files) and not self._stopped:
            if self._pace is not None:
                self._pace.wait()
            file = self._files[self._next]
            self._next += 1
            captured = now()
            picture = self._decode(file)
            if picture is None:
                bad.append(f"{file}: not a picture that can be read: passed over")
                if self._read_any:
                    self._complain_of(bad)
                continue
            self._read_any = True
            self._complain_of(bad)
            frame.picture = picture
            frame.captured = captured
            frame.decode = now() - captured
            frame.name = file.stem
            truth = read_kitti_road_truth(file) if self.truth else None
            frame.has_truth = truth is not None and truth.shape == picture.shape[:2]
            if truth is not None and frame.has_truth:
                frame.truth = self._truth_table[truth]
            return True
        if not self._read_any and not self._stopped:
            if len(self._files) == 1:
                raise InputError(f"{self._files[0]}: not a picture that can be read")
            raise InputError(f"{self.name}: none of its {len(bad)} pictures can be read")
        return False

    def skip(self, count: int) -> None:
        if count >= len(self._files):
            raise InputError(
                f"{self.name}: --start {count}: it has only {len(self._files)} pictures"
            )
        self._next = count

    def rewind(self) -> bool:
        self._next = 0
        return self._read_any

    def stop(self) -> None:
        self._stopped = True
        if self._pace is not None:
            self._pace.stop()
