"""Cameras, video files and network streams, by OpenCV's VideoCapture."""

from __future__ import annotations

import math
import os
import threading
from abc import abstractmethod
from pathlib import Path

import cv2
import numpy as np

from rtseg.errors import InputError
from rtseg.video.frame import LiveFrame, now
from rtseg.video.pace import Pace
from rtseg.video.sources import Source

_TIMEOUT_MS = 10_000
_PATIENCE_S = 30.0


def _quiet() -> None:
    """FFmpeg and OpenCV write their own lines to stderr; rtseg's one line is to stand alone."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    # OpenCV 4 has the module cv2.utils.logging, OpenCV 5 the function; both have the constant 0.
    if hasattr(cv2, "setLogLevel"):
        cv2.setLogLevel(0)


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


class _CaptureSource(Source):
    """What the three have in common: a VideoCapture that is opened, read and given back."""

    _waits = True
    """Whether grabbing waits for a frame to arrive."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        _quiet()
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
        done = _retrieve(self._capture, frame)
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


class FileSource(_CaptureSource):
    """A video file: every frame in order; with ``realtime`` at its own pace."""

    kind = "file"
    _waits = False

    def __init__(self, path: Path, *, realtime: bool = False) -> None:
        self._path = path
        super().__init__(str(path))
        assert self._capture is not None
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.count = int(count) if math.isfinite(count) and 0 < count < 1e9 else None
        self.live = realtime
        self._pace = Pace(self.fps or 30.0) if realtime else None
        self._read = 0

    def _open(self) -> cv2.VideoCapture:
        try:
            with self._path.open("rb") as file:
                if not file.read(1):
                    raise InputError(f"{self.name}: this file is empty")
        except OSError as error:
            raise InputError(f"{self.name}: cannot read this file: {error.strerror}") from error
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
        if self._grab(frame):
            self._read += 1
            return True
        if self._stopped.is_set():
            return False
        if not self._read:
            raise InputError(f"{self.name}: no frame of this video can be decoded")
        # The container's count is an estimate in some formats: a few frames are no damage.
        if self.count is not None and self._read < self.count - max(3, self.count // 50):
            self.complain(
                f"{self.name}: ended after {self._read} of {self.count} frames: "
                "the file is cut short or damaged"
            )
        return False

    def skip(self, count: int) -> None:
        # Frames are counted by grabbing, since seeking lands on key frames in some formats.
        super().skip(count)
        self._read = count

    def rewind(self) -> bool:
        if self._capture is None:
            return False
        self._capture.release()
        self._capture = self._open()
        self._read = 0
        return True

    def stop(self) -> None:
        if self._pace is not None:
            self._pace.stop()
        super().stop()


class _LiveSource(_CaptureSource):
    """A source that may fall silent: it is opened again with growing pauses, for half a minute."""

    live = True

    def read(self, frame: LiveFrame) -> bool:
        if self._grab(frame):
            return True
        pause, waited = 0.25, 0.0
        while not self._stopped.is_set() and waited < _PATIENCE_S:
            self._stopped.wait(pause)
            waited += pause
            pause = min(2 * pause, 4.0)
            if self._stopped.is_set():
                return False
            if self._capture is not None:
                self._capture.release()
                self._capture = None
            try:
                self._capture = self._open()
            except InputError:
                continue
            if self._grab(frame):
                self.reconnects += 1
                self.notes.append(f"{self.name}: fell silent; connected again after {waited:.1f} s")
                return True
        if self._stopped.is_set():
            return False
        raise InputError(
            f"{self.name}: fell silent and did not come back within {_PATIENCE_S:.0f} s"
        )


class CameraSource(_LiveSource):
    """A camera by its number or device file; the newest frame is what is read."""

    kind = "camera"

    def __init__(self, device: int | str, size: tuple[int, int] | None, fps: float | None) -> None:
        self._device = device
        self._asked = (size, fps)
        super().__init__(f"camera {device}")

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(self._device)
        if not capture.isOpened():
            raise InputError(
                f"{self.name}: no such camera, or another program or a missing permission holds it: "
                "see /dev/video*, or try another number"
            )
        size, fps = self._asked
        if size is not None:
            # Most USB cameras give large pictures at full rate only as MJPG.
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, size[0])
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size[1])
        if fps is not None:
            capture.set(cv2.CAP_PROP_FPS, fps)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        return capture


class StreamSource(_LiveSource):
    """An RTSP or HTTP stream, or a GStreamer string.

    A URL whose container tells its number of frames is a file on a server: it ends, and every
    frame is read.
    """

    kind = "stream"

    def __init__(self, url: str, *, gstreamer: bool = False) -> None:
        self._url = url
        self._gstreamer = gstreamer
        super().__init__(url)
        assert self._capture is not None
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        if not gstreamer and math.isfinite(count) and 0 < count < 1e9:
            self.count = int(count)
            self.live = self._waits = False
        self._read = 0

    def _open(self) -> cv2.VideoCapture:
        if self._gstreamer:
            if "GStreamer:                   YES" not in cv2.getBuildInformation():
                raise InputError(
                    f"{self._url}: this OpenCV is built without GStreamer (PyPI's wheels are): "
                    "give a camera, file or URL, or install an OpenCV with GStreamer"
                )
            capture = cv2.VideoCapture(self._url, cv2.CAP_GSTREAMER)
        else:
            capture = cv2.VideoCapture(
                self._url,
                cv2.CAP_FFMPEG,
                # One decoding thread: several hold back as many frames, which is delay.
                [
                    cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _TIMEOUT_MS,
                    cv2.CAP_PROP_READ_TIMEOUT_MSEC, _TIMEOUT_MS,
                    cv2.CAP_PROP_N_THREADS, 1,
                ],
            )  # fmt: skip
        if not capture.isOpened():
            raise InputError(f"{self._url}: cannot open this stream: is the address right and up?")
        return capture

    def read(self, frame: LiveFrame) -> bool:
        if self.count is None:
            return super().read(frame)
        if self._grab(frame):
            self._read += 1
            return True
        if not self._stopped.is_set() and self._read < self.count - max(3, self.count // 50):
            self.complain(f"{self.name}: ended after {self._read} of {self.count} frames")
        return False
