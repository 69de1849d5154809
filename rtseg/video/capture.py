"""Video files, and what they share with cameras and streams: OpenCV's VideoCapture."""

from __future__ import annotations

import contextlib
import math
import threading
from abc import abstractmethod
from pathlib import Path

import cv2
import numpy as np

from rtseg.errors import InputError
from rtseg.video.container import is_cut_short, shown_frames
from rtseg.video.frame import LiveFrame, now
from rtseg.video.pace import Pace
from rtseg.video.quiet import quiet_opencv
from rtseg.video.sources import Source

_ATTEMPTS = 100
"""OpenCV gives up a frame that it cannot decode, and may well decode the next: as often as this."""


def _retrieve(capture: cv2.VideoCapture, frame: LiveFrame) -> bool:
    """Decode the grabbed picture into the frame's own buffer, where it fits."""
    done, picture = capture.retrieve(frame.picture if frame.picture.size else None)
    if not done or picture is None or not picture.size:
        return False
    if picture.ndim == 2:
        picture = cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)
    frame.picture = picture.astype(np.uint8, copy=False)
    frame.has_truth = False
    frame.name = ""
    return True


_SIDES = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
_MANY_PIXELS = 1920 * 1088


class CaptureSource(Source):
    """What the three have in common: a VideoCapture that is opened, read and given back."""

    _waits = True
    """Whether grabbing waits for a frame to arrive."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        quiet_opencv()
        self._stopped = threading.Event()
        self._capture: cv2.VideoCapture | None = self._open()
        capture = self._capture
        fps = capture.get(cv2.CAP_PROP_FPS)
        # Containers tell bogus rates: 0, NaN, or a time base such as 90000.
        self.fps = fps if math.isfinite(fps) and 0.5 <= fps <= 1000 else None

    @abstractmethod
    def _open(self) -> cv2.VideoCapture:
        """Open the capture or raise ``InputError``."""

    def _grab(self, frame: LiveFrame) -> bool:
        start = now()
        if self._capture is None or not self._capture.grab():
            return False
        # A file's frame is there from the start, a camera's when it has arrived.
        frame.captured = now() if self._waits else start
        try:
            done = _retrieve(self._capture, frame)
        except cv2.error as error:
            raise InputError(
                f"{self.name}: this picture cannot be taken: OpenCV: {error.err}"
            ) from error
        frame.decode = now() - frame.captured
        return done

    def skip(self, count: int) -> None:
        for done in range(count):
            if self._capture is None or not self._capture.grab():
                raise InputError(f"{self.name}: --start {count}: it has only {done} frames")

    def stop(self) -> None:
        self._stopped.set()

    def close(self) -> None:
        self._stopped.set()
        if self._capture is not None:
            self._capture.release()
            self._capture = None


class FileSource(CaptureSource):
    """A video file: every frame in order; with ``realtime`` at its own pace."""

    kind = "file"
    _waits = False

    def __init__(self, path: Path, *, realtime: bool = False) -> None:
        self._path = path
        self.paths = (path,)
        super().__init__(str(path))
        assert self._capture is not None
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.count = int(count) if math.isfinite(count) and 0 < count < 1e9 else None
        self.live = realtime
        self._pace = Pace(self.fps or 30.0) if realtime else None
        self._skipped = 0
        self._read = 0

    def _open(self) -> cv2.VideoCapture:
        try:
            with self._path.open("rb") as file:
                if not file.read(1):
                    raise InputError(f"{self.name}: this file is empty")
        except OSError as error:
            raise InputError(f"{self.name}: cannot read this file: {error.strerror}") from error
        # One decoding thread costs the least, and the engine has use for the other cores; pictures
        # beyond HD take longer to decode than to segment, so theirs are decoded by all.
        capture = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        width, height = (capture.get(p) for p in _SIDES)
        if width * height > _MANY_PIXELS:
            capture.release()
            capture = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG)
        if not capture.isOpened():
            raise InputError(
                f"{self.name}: no video that can be decoded: not a video file, cut short, "
                "or of an unknown codec"
            )
        return capture

    def read(self, frame: LiveFrame) -> bool:
        if self._pace is not None:
            self._pace.wait()
        for attempt in range(_ATTEMPTS):
            if self._stopped.is_set():
                return False
            if self._grab(frame):
                self._read += 1
                if attempt:
                    self._complain_of_damage()
                return True
        if not self._read:
            if self._skipped:
                raise InputError(
                    f"{self.name}: --start {self._skipped}: it has only {self._skipped} frames"
                )
            raise InputError(f"{self.name}: no frame of this video can be decoded")
        self._complain_of_the_end()
        return False

    def _complain_of_damage(self) -> None:
        # Around a cut all sorts of things cannot be decoded: that is said once, at the end.
        with contextlib.suppress(OSError):
            if not is_cut_short(self._path):
                self.complain(
                    f"{self.name}: damaged: frames that cannot be decoded are passed over"
                )

    def _complain_of_the_end(self) -> None:
        done = self._skipped + self._read
        try:
            if is_cut_short(self._path):
                self.complain(f"{self.name}: ends after {done} frames: the file is cut short")
                return
        except OSError as error:
            self.complain(f"{self.name}: gone after {done} frames: {error.strerror}")
            return
        # The container's count is an estimate in some formats: a few frames are no damage.
        if self.failures or self.count is None or not _lacks(done, self.count):
            return
        count = shown_frames(self._path)
        if count is not None and _lacks(done, count):
            self.complain(
                f"{self.name}: only {done} of {count} frames can be decoded: the file is damaged"
            )

    def skip(self, count: int) -> None:
        # Frames are counted by grabbing, since seeking lands on key frames in some formats.
        super().skip(count)
        self._skipped = count

    def rewind(self) -> bool:
        if self._capture is None:
            return False
        self._capture.release()
        self._capture = self._open()
        self._read = self._skipped = 0
        return True

    def stop(self) -> None:
        if self._pace is not None:
            self._pace.stop()
        super().stop()


def _lacks(done: int, count: int) -> bool:
    return done < count - max(3, count // 50)
